-- A ledger as the first release wrote it: the tables, and a little of everything in them.
CREATE TABLE meta ("key" TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY ("key"));
CREATE TABLE flows (id TEXT NOT NULL, name TEXT NOT NULL, gone BOOLEAN NOT NULL, PRIMARY KEY (id));
CREATE TABLE deployments (id TEXT NOT NULL, name TEXT NOT NULL, flow_id TEXT NOT NULL, work_pool TEXT NOT NULL, work_queue TEXT NOT NULL, tags JSON NOT NULL, gone BOOLEAN NOT NULL, PRIMARY KEY (id));
CREATE TABLE pairs (id INTEGER NOT NULL, flow TEXT NOT NULL, deployment TEXT NOT NULL, PRIMARY KEY (id), UNIQUE (flow, deployment));
CREATE TABLE runs (run_id BLOB NOT NULL, pair_id INTEGER, state_id BLOB NOT NULL, state_type TEXT NOT NULL, state_at FLOAT NOT NULL, attempts INTEGER NOT NULL, start_counted BOOLEAN NOT NULL, ended_at FLOAT, duration FLOAT, name TEXT NOT NULL, cause TEXT NOT NULL, gone BOOLEAN NOT NULL, PRIMARY KEY (run_id));
CREATE INDEX runs_by_pair ON runs (pair_id, state_type, ended_at);
CREATE INDEX runs_by_end ON runs (ended_at, state_type, gone);
CREATE TABLE counted (run_id BLOB NOT NULL, state_id BLOB NOT NULL, PRIMARY KEY (run_id, state_id)) WITHOUT ROWID;
CREATE TABLE series (metric TEXT NOT NULL, flow TEXT NOT NULL, deployment TEXT NOT NULL, detail TEXT NOT NULL, value FLOAT NOT NULL, buckets JSON NOT NULL, released BOOLEAN NOT NULL, updated_at FLOAT NOT NULL, PRIMARY KEY (metric, flow, deployment, detail)) WITHOUT ROWID;
CREATE TABLE last_outcomes (pair_id INTEGER NOT NULL, state TEXT NOT NULL, at FLOAT NOT NULL, PRIMARY KEY (pair_id, state)) WITHOUT ROWID;
CREATE TABLE hourly (pair_id INTEGER NOT NULL, start INTEGER NOT NULL, good INTEGER NOT NULL, bad INTEGER NOT NULL, timed INTEGER NOT NULL, seconds FLOAT NOT NULL, PRIMARY KEY (pair_id, start)) WITHOUT ROWID;
CREATE TABLE daily (pair_id INTEGER NOT NULL, start INTEGER NOT NULL, good INTEGER NOT NULL, bad INTEGER NOT NULL, timed INTEGER NOT NULL, seconds FLOAT NOT NULL, PRIMARY KEY (pair_id, start)) WITHOUT ROWID;
PRAGMA user_version = 1;

INSERT INTO meta VALUES ('api', '"http://prefect.test/api"'), ('created_at', '1772000000.5'),
  ('cursor', '{"watermark": 1772452700.25, "horizon": 1769860800.0, "level_complete": true, "walk_newest": 1772452750.5, "walk_before": 1772452720.75, "walk_offset": 3, "walk_left": null}'),
  ('bounds', '{"prefect_flow_run_duration_seconds": [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0], "prefect_flow_run_start_delay_seconds": [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0]}');
INSERT INTO flows VALUES ('f', 'etl', 0), ('g', 'old', 1);
INSERT INTO deployments VALUES ('d', 'daily', 'f', 'k8s', 'default', '["critical"]', 0);
INSERT INTO pairs VALUES (1, 'etl', 'daily'), (2, 'old', '');
INSERT INTO runs VALUES
  (x'00000000000000000000000000000001', 1, x'000000000000000000000000000000A1', 'COMPLETED', 1772440000.0, 2, 1, 1772440000.0, 12.5, '', '', 0),
  (x'00000000000000000000000000000002', 1, x'000000000000000000000000000000A2', 'FAILED', 1772450000.0, 1, 1, 1772450000.0, 3.0, 'able-lynx', 'auth', 0),
  (x'00000000000000000000000000000003', NULL, x'000000000000000000000000000000A3', 'FAILED', 1772450001.0, 1, 1, 1772450001.0, 3.0, 'excluded', 'auth', 0),
  (x'00000000000000000000000000000004', 2, x'000000000000000000000000000000A4', 'CRASHED', 1772450002.0, 0, 0, 1772450002.0, NULL, 'gone-run', 'other', 1);
INSERT INTO counted VALUES
  (x'00000000000000000000000000000001', x'000000000000000000000000000000A1'),
  (x'00000000000000000000000000000002', x'000000000000000000000000000000A2');
INSERT INTO series VALUES
  ('prefect_flow_run_outcomes_total', 'etl', 'daily', 'completed', 41.0, '[]', 1, 1772440000.0),
  ('prefect_flow_run_outcomes_total', 'etl', 'daily', 'failed', 1.0, '[]', 0, 1772450000.0),
  ('prefect_flow_run_failures_total', 'etl', 'daily', 'auth', 1.0, '[]', 0, 1772450000.0),
  ('prefect_flow_run_duration_seconds', 'etl', 'daily', '', 512.5, '[1, 2, 38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]', 1, 1772440000.0),
  ('prefect_flow_run_outcomes_total', 'we"ird', '', 'crashed', 7.0, '[]', 1, 1772440000.0);
INSERT INTO last_outcomes VALUES (1, 'completed', 1772440000.0), (1, 'failed', 1772450000.0);
INSERT INTO hourly VALUES (1, 1771833600, 4, 0, 4, 40.0), (1, 1772438400, 1, 0, 1, 12.5), (1, 1772449200, 0, 1, 0, 0.0);
INSERT INTO daily VALUES (1, 1772409600, 1, 1, 1, 12.5), (1, 1771804800, 4, 0, 4, 40.0);
