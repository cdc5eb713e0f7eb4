"""Classifies the errors of boto3 by name, so that boto3 need not be installed."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from prefect_monitoring.model.sink_status import SinkError

_BY_CODE: Final[Mapping[SinkError, frozenset[str]]] = {
    SinkError.THROTTLED: frozenset(
        {"Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"}
        | {"LimitExceededException", "LimitExceededFault", "SlowDown", "RequestThrottled", "BandwidthLimitExceeded"}
    ),
    SinkError.CREDENTIALS: frozenset(
        {"AccessDenied", "AccessDeniedException", "AuthFailure", "ExpiredToken", "ExpiredTokenException"}
        | {"IncompleteSignature", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSignatureException"}
        | {"MissingAuthenticationToken", "MissingAuthenticationTokenException", "NotAuthorized", "OptInRequired"}
        | {"RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "UnauthorizedOperation"}
        | {"UnrecognizedClientException"}
    ),
    SinkError.CONFIGURATION: frozenset({"NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed"}),
}
_BY_STATUS: Final[Mapping[int, SinkError]] = {
    HTTPStatus.BAD_REQUEST: SinkError.REFUSED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: SinkError.REFUSED,
    HTTPStatus.TOO_MANY_REQUESTS: SinkError.THROTTLED,
    HTTPStatus.UNAUTHORIZED: SinkError.CREDENTIALS,
    HTTPStatus.FORBIDDEN: SinkError.CREDENTIALS,
}
_BY_CLASS: Final[Mapping[SinkError, frozenset[str]]] = {
    SinkError.CREDENTIALS: frozenset(
        {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"}
        | {"SSOError", "UnauthorizedSSOTokenError", "MetadataRetrievalError", "RefreshWithMFAUnsupportedError"}
    ),
    SinkError.CONFIGURATION: frozenset(
        {"NoRegionError", "InvalidRegionError", "ProfileNotFound", "ConfigParseError", "ConfigNotFound"}
        | {"InvalidConfigError", "UnknownEndpointError", "EndpointProviderError", "ModuleNotFoundError"}
    ),
    SinkError.REFUSED: frozenset({"ParamValidationError"}),
    SinkError.UNREACHABLE: frozenset({"HTTPClientError", "ConnectionError", "OSError", "ResponseParserError"}),
}


def reason_of(error: Exception) -> SinkError:
    """Why AWS, or boto3 before it, did not accept a request."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return _answered(response)
    names = {kind.__name__ for kind in type(error).__mro__}
    return next((reason for reason, classes in _BY_CLASS.items() if names & classes), SinkError.INTERNAL)


def _answered(response: dict[str, dict[str, object]]) -> SinkError:
    code = response.get("Error", {}).get("Code")
    for reason, codes in _BY_CODE.items():
        if code in codes:
            return reason
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if isinstance(status, int) and status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return _BY_STATUS.get(status, SinkError.CONFIGURATION)  # such as the 404 of a server that is not AWS
    return SinkError.UNREACHABLE
