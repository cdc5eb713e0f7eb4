"""Real-world failure messages and the cause that an operator would name."""

from __future__ import annotations

import time

import pytest

from prefect_monitoring.analysis.failure_causes import CAUSE_PATTERNS, CausePattern, cause_of, compile_pattern

CASES = [
    # Rate limits
    ("rate_limit", "Flow run encountered an exception: HTTPStatusError: Client error '429 Too Many Requests' for url"),
    ("rate_limit", "openai.RateLimitError: Error code: 429 - {'error': {'code': 'rate_limit_exceeded'}}"),
    ("rate_limit", "botocore.exceptions.ClientError: An error occurred (ThrottlingException): Rate exceeded"),
    (
        "rate_limit",
        "An error occurred (SlowDown) when calling the PutObject operation: Please reduce your request rate.",
    ),
    ("rate_limit", "google.api_core.exceptions.ResourceExhausted: 429 Quota exceeded for quota metric 'Queries'"),
    ("rate_limit", "Flow run encountered an exception: RuntimeError: rate limited by the API"),
    # Locks
    (
        "db_lock",
        "psycopg.errors.DeadlockDetected: deadlock detected DETAIL: Process 71 waits for ShareLock on transaction",
    ),
    ("db_lock", "psycopg2.errors.LockNotAvailable: canceling statement due to lock timeout"),
    ("db_lock", "(1205, 'Lock wait timeout exceeded; try restarting transaction')"),
    ("db_lock", "sqlite3.OperationalError: database is locked"),
    ("db_lock", "psycopg.errors.SerializationFailure: could not serialize access due to concurrent update"),
    ("db_lock", 'could not obtain lock on row in relation "orders"'),
    # Memory
    ("out_of_memory", "Flow run infrastructure exited with non-zero status code 137."),
    ("out_of_memory", "Process for flow run 'able-lynx' exited with status code: 137 (Out of memory)"),
    ("out_of_memory", "MemoryError: Unable to allocate 7.45 GiB for an array with shape (1000000000,)"),
    ("out_of_memory", "Container was OOMKilled"),
    ("out_of_memory", "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
    ("out_of_memory", "OSError: [Errno 12] Cannot allocate memory"),
    # Timeouts
    ("timeout", "Flow run exceeded timeout of 3600.0 second(s)"),
    ("timeout", "httpx.ReadTimeout: The read operation timed out"),
    ("timeout", "psycopg2.errors.QueryCanceled: canceling statement due to statement timeout"),
    ("timeout", "grpc: DEADLINE_EXCEEDED: Deadline Exceeded"),
    ("timeout", "Flow run encountered an exception: TimeoutError: "),
    ("timeout", "urllib3.exceptions.ConnectTimeoutError: Connection to db timed out. (connect timeout=10)"),
    ("timeout", "upstream request timeout: 504 Gateway Timeout"),
    # Credentials
    ("auth", "snowflake.connector.errors.DatabaseError: 250001 (08001): Incorrect username or password was specified."),
    ("auth", "390144 (08004): JWT token is invalid."),
    ("auth", 'FATAL: password authentication failed for user "etl"'),
    ("auth", "HTTPStatusError: Client error '401 Unauthorized' for url 'https://api.example.com'"),
    ("auth", "403 Forbidden: The caller does not have permission"),
    ("auth", "An error occurred (AccessDenied) when calling the GetObject operation: Access Denied"),
    (
        "auth",
        "An error occurred (ExpiredToken) when calling the ListObjectsV2 operation: The provided token has expired.",
    ),
    ("auth", "botocore.exceptions.NoCredentialsError: Unable to locate credentials"),
    ("auth", 'psycopg.errors.InsufficientPrivilege: permission denied for table "orders"'),
    ("auth", "google.auth.exceptions.RefreshError: ('invalid_grant: Token has been expired or revoked.')"),
    # Connections
    ("connection", "httpx.ConnectError: All connection attempts failed"),
    (
        "connection",
        "psycopg.OperationalError: connection failed: Connection refused. Is the server running on that host?",
    ),
    (
        "connection",
        "requests.exceptions.ConnectionError: ('Connection aborted.', RemoteDisconnected('Remote end closed'))",
    ),
    ("connection", "socket.gaierror: [Errno -2] Name or service not known"),
    ("connection", "ssl.SSLCertVerificationError: certificate verify failed: unable to get local issuer certificate"),
    ("connection", "HTTPStatusError: Server error '503 Service Unavailable' for url 'https://api.example.com'"),
    ("connection", "psycopg.OperationalError: server closed the connection unexpectedly"),
    ("connection", "OSError: [Errno 113] No route to host"),
    ("connection", "Temporary failure in name resolution"),
    ("connection", "httpx.RemoteProtocolError: Server disconnected without sending a response."),
    # Infrastructure
    ("infrastructure", "Flow run infrastructure exited with non-zero status code 1."),
    ("infrastructure", "Flow run could not be submitted to infrastructure: ApiException: (404) Reason: Not Found"),
    ("infrastructure", "Flow run infrastructure exited with non-zero status code -9."),
    ("infrastructure", "Execution was interrupted by an unexpected exception: SIGTERM: Terminated by the orchestrator"),
    ("infrastructure", "Job 'able-lynx-abc': Pod reached BackoffLimitExceeded, ImagePullBackOff"),
    ("infrastructure", "The node was low on resource: ephemeral-storage. Pod was evicted"),
    ("infrastructure", "OSError: [Errno 28] No space left on device"),
    ("infrastructure", "Flow run was detected as a zombie: no heartbeat received in time"),
    ("infrastructure", "Flow run process was terminated by signal SIGKILL"),
    # Data
    ("data", 'Database Error in model orders: column "custmer_id" does not exist'),
    ("data", 'psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "orders_pkey"'),
    ("data", "pydantic_core._pydantic_core.ValidationError: 1 validation error for Order"),
    (
        "data",
        "Flow run encountered an exception: dbt test not_null_orders_id: Got 4 results, configured to fail",
    ),
    ("data", "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    ("data", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ("data", "pyarrow.lib.ArrowInvalid: Schema at index 1 was different"),
    ("data", 'psycopg.errors.NotNullViolation: null value in column "id" violates not-null constraint'),
    ("data", "pandera.errors.SchemaError: column 'amount' failed data quality check"),
    ("data", 'relation "staging.orders" does not exist'),
    # Code
    ("code", "Flow run encountered an exception: ValueError: could not convert string to float: 'n/a'"),
    ("code", "Flow run encountered an exception: KeyError: 'customer'"),
    ("code", "ModuleNotFoundError: No module named 'pandas'"),
    ("code", "Flow run encountered an exception: ZeroDivisionError: division by zero"),
    ("code", "Flow run encountered an exception: AttributeError: 'NoneType' object has no attribute 'get'"),
    ("code", "TypeError: load() got an unexpected keyword argument 'worker_count'"),
    ("code", "prefect.exceptions.MissingFlowError: Flow function with name 'etl' not found in flow.py"),
    ("code", "FileNotFoundError: [Errno 2] No such file or directory: 'flow.py'"),
    ("code", "AssertionError: expected 3 rows"),
    ("code", "Flow run encountered an exception: KeyError: 'schema'"),
    ("code", "NameError: name 'worker' is not defined"),
    # No recognizable cause
    ("other", ""),
    ("other", "Flow run encountered an exception"),
    ("other", "2/5 states failed."),
    ("other", "Finished in state Failed()"),
    ("other", "Loaded 429000 rows, but expected 500000"),
    ("other", "by hand"),
]


@pytest.mark.parametrize(("cause", "message"), CASES, ids=[f"{cause}: {message[:60]}" for cause, message in CASES])
def test_failure_message_has_the_expected_cause(cause: str, message: str) -> None:
    assert cause_of(message) == cause


def test_custom_patterns_take_precedence_in_their_order() -> None:
    own = [
        CausePattern("vendor", compile_pattern(r"acme")),
        CausePattern("never", compile_pattern(r"acme down")),
    ]
    assert cause_of("ACME down: 429 Too Many Requests", own) == "vendor"
    assert cause_of("429 Too Many Requests", own) == "rate_limit"


def test_causes_match_the_catalogue() -> None:
    assert {row.cause for row in CAUSE_PATTERNS} == {
        "rate_limit",
        "timeout",
        "db_lock",
        "connection",
        "auth",
        "out_of_memory",
        "infrastructure",
        "data",
        "code",
    }


@pytest.mark.parametrize("word", ["table ", "column x "])
def test_long_message_is_classified_quickly(word: str) -> None:
    """A failed INSERT quotes its statement: 30 kB of SQL on one line must not stop the poll, or the scrapes."""
    begun = time.process_time()
    cause_of(word * (30_000 // len(word)))
    assert time.process_time() - begun < 0.2
