"""A small training service: it really trains, logs a run to MLflow, and registers the new model version.

    training_service.py --mlflow URL --data DIR --state DIR [--token TOKEN] [--with-stdin] [--crash-at STAGE]

It speaks the training hook of connectors/README.md: POST /jobs with an Idempotency-Key, GET /jobs/{id}, GET /jobs?key=…,
DELETE /jobs/{id}. Prints {"url", "pid"} when it listens. Callbacks are not offered.

A job fits a logistic regression on the German credit data. `data` names the CSV files, relative to --data, that it is fitted
on: {"train": ["reference.csv", "current.csv"]}; `parameters` may have C, seed and testShare. The same data and parameters give
the same model.

A job is written to state/jobs.db before its POST is answered, and what it does can be done again from the start:

    trained      nothing has left the process
    logged       MLflow has a run with the tag cpd.idempotency_key and the model as its artifact
    registered   MLflow has a version with the same tag; the run is finished

After a crash a job goes on from the furthest stage that MLflow shows, so there are never two versions for one key.
--crash-at makes the service kill itself at a stage, the way the machine would: the tests do that at every stage.
"""

import argparse
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import queue
import re
import signal
import sqlite3
import threading
import urllib.parse
import warnings

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# MLflow's own retries on a lost connection would outlast every test.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
warnings.filterwarnings("ignore")

import mlflow
import pandas as pd
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parts

KEY_TAG = "cpd.idempotency_key"
LABEL = "creditability"
STAGES = ["started", "trained", "logged", "registered"]
BODY_BYTES_MAX = 1 << 20
OPEN = ("queued", "running")


class Refused(Exception):
    """The other side asked for something that cannot be done: an HTTP status and why."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Jobs:
    """The jobs, in SQLite. Each change is on disk when its method returns."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, key TEXT UNIQUE NOT NULL, digest TEXT NOT NULL,"
            " body TEXT NOT NULL, status TEXT NOT NULL, result TEXT NOT NULL DEFAULT '{}')"
        )

    def open(self, key, body):
        """The key's job, and whether it is new. Another body under the same key is refused."""
        text = json.dumps(body, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        job = "job-" + hashlib.sha256(key.encode()).hexdigest()[:16]
        with self.lock:
            added = self.db.execute(
                "INSERT INTO jobs (id, key, digest, body, status) VALUES (?, ?, ?, ?, 'queued') ON CONFLICT DO NOTHING",
                (job, key, digest, text),
            ).rowcount
            known = self.db.execute("SELECT digest FROM jobs WHERE id = ?", (job,)).fetchone()[0]
        if known != digest:
            raise Refused(409, "this key has started a job with another body")
        return job, added == 1

    def get(self, job):
        """The job as the hook shows it, or None."""
        with self.lock:
            row = self.db.execute("SELECT id, status, result FROM jobs WHERE id = ?", (job,)).fetchone()
        return row and {"jobId": row[0], "status": row[1], **json.loads(row[2])}

    def by_key(self, key):
        with self.lock:
            row = self.db.execute("SELECT id FROM jobs WHERE key = ?", (key,)).fetchone()
        return row and row[0]

    def order(self, job):
        """What was asked for: key and body."""
        with self.lock:
            key, body = self.db.execute("SELECT key, body FROM jobs WHERE id = ?", (job,)).fetchone()
        return key, json.loads(body)

    def unfinished(self):
        with self.lock:
            return [row[0] for row in self.db.execute("SELECT id FROM jobs WHERE status IN (?, ?) ORDER BY rowid", OPEN)]

    def move(self, job, status, **result):
        """False if the job has ended already: an end is never overwritten."""
        with self.lock:
            return (
                self.db.execute(
                    "UPDATE jobs SET status = ?, result = ? WHERE id = ? AND status IN (?, ?)",
                    (status, json.dumps(result), job, *OPEN),
                ).rowcount
                == 1
            )


class Trainer:
    """Works the jobs off, one after the other."""

    def __init__(self, jobs, mlflow_url, data, crash_at):
        self.jobs = jobs
        self.data = data.resolve()
        self.crash_at = crash_at
        self.queue = queue.Queue()
        mlflow.set_tracking_uri(mlflow_url)
        self.client = mlflow.MlflowClient(mlflow_url)

    def run(self):
        while True:
            job = self.queue.get()
            try:
                self.work(job)
            except Refused as e:
                self.jobs.move(job, "failed", error=str(e))
            except Exception as e:  # noqa: BLE001: a job that fails must not end the service
                self.jobs.move(job, "failed", error=f"{type(e).__name__}: {e}"[:2000])

    def reached(self, stage):
        if self.crash_at == stage:
            os.kill(os.getpid(), signal.SIGKILL)

    def work(self, job):
        if not self.jobs.move(job, "running"):
            return
        key, body = self.jobs.order(job)
        name = body["model"]
        tags = {**body.get("tags", {}), KEY_TAG: key}
        self.reached("started")
        version = self.version_of(name, key)
        if version is None:
            run, source, metrics = self.logged(name, key, tags, body)
            self.ensure_model(name)
            if self.jobs.get(job)["status"] != "running":
                # Cancelled meanwhile: the run stays, a version would not be wanted.
                return
            # Without model_id MLflow 3 refuses a source of the form models:/m-….
            version = self.client.create_model_version(
                name, source=source, run_id=run, tags=tags, model_id=source.removeprefix("models:/")
            )
            self.reached("registered")
        else:
            run, metrics = version.run_id, self.client.get_run(version.run_id).data.metrics
        self.jobs.move(job, "succeeded", version=str(version.version), runId=run, metrics=metrics)

    def version_of(self, name, key):
        """The version that an earlier try has registered."""
        found = self.client.search_model_versions(f"name='{name}' and tags.`{KEY_TAG}`='{key}'")
        return found[0] if found else None

    def logged(self, name, key, tags, body):
        """Run, model and metrics: those of an earlier try that got so far, or new ones."""
        experiment = mlflow.set_experiment("cpd-training").experiment_id
        for run in self.client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{key}'"):
            source = run.data.tags.get("cpd.model_uri")
            if run.info.status == RunStatus.to_string(RunStatus.FINISHED) and source:
                return run.info.run_id, source, run.data.metrics
        parameters = body.get("parameters") or {}
        model, example, metrics = self.fit(body.get("data") or {}, parameters)
        self.reached("trained")
        with mlflow.start_run(experiment_id=experiment, run_name=f"{name} retraining", tags=tags) as run:
            mlflow.log_params({"C": 1.0, "seed": 0, "testShare": 0.25, **parameters})
            mlflow.log_metrics(metrics)
            info = mlflow.sklearn.log_model(
                model, name="model", input_example=example, pip_requirements=[], serialization_format="cloudpickle"
            )
            # The last word of a try: with it and the run's end, the run is good to go on from.
            mlflow.set_tag("cpd.model_uri", info.model_uri)
        self.reached("logged")
        return run.info.run_id, info.model_uri, metrics

    def fit(self, data, parameters):
        frames = [pd.read_csv(self.file(name)) for name in data.get("train") or ["reference.csv"]]
        rows = pd.concat(frames, ignore_index=True)
        if LABEL not in rows:
            raise Refused(422, f"the data has no column {LABEL!r}")
        bad = (rows.pop(LABEL) == "bad").astype(int)
        # MLflow warns about integers that may be missing one day.
        rows = rows.astype({c: "float64" for c in rows.select_dtypes("int64")})
        seed = int(parameters.get("seed", 0))
        share = float(parameters.get("testShare", 0.25))
        split = train_test_split(rows, bad, test_size=share, random_state=seed, stratify=bad)
        x_train, x_test, y_train, y_test = split
        model = make_pipeline(
            make_column_transformer(
                (StandardScaler(), make_column_selector(dtype_include="number")),
                (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
            ),
            LogisticRegression(C=float(parameters.get("C", 1.0)), max_iter=2000, random_state=seed),
        ).fit(x_train, y_train)
        chance = model.predict_proba(x_test)[:, 1]
        metrics = {
            "auc": float(roc_auc_score(y_test, chance)),
            "accuracy": float(accuracy_score(y_test, chance > 0.5)),
            "rows": float(len(rows)),
        }
        return model, x_train.head(3), metrics

    def file(self, name):
        path = (self.data / str(name)).resolve()
        if not path.is_relative_to(self.data) or not path.is_file():
            raise Refused(422, f"no data file {name!r}")
        return path

    def ensure_model(self, name):
        try:
            self.client.create_registered_model(name)
        except MlflowException as e:
            if e.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def checked(body):
    """The body of POST /jobs, if it can be worked with."""
    if not isinstance(body, dict):
        raise Refused(422, "expected a JSON object")
    if not isinstance(body.get("model"), str) or not re.fullmatch(r"[\w.-]{1,200}", body["model"]):
        raise Refused(422, "model: expected a name of letters, digits, '.', '_' and '-'")
    if not isinstance(body.get("tags", {}), dict):
        raise Refused(422, "tags: expected an object")
    for part in ("parameters", "data"):
        if not isinstance(body.get(part) or {}, dict):
            raise Refused(422, f"{part}: expected an object")
    if "callback" in body:
        raise Refused(422, "callback: not offered here, poll the job")
    return body


class Handler(http.server.BaseHTTPRequestHandler):
    """The hook's API. `jobs`, `trainer` and `token` are set on the class before it serves."""

    protocol_version = "HTTP/1.1"
    jobs = trainer = token = None

    def answer(self, status, body):
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def handled(self, handle):
        try:
            if self.token and not hmac.compare_digest(self.headers.get("Authorization", ""), f"Bearer {self.token}"):
                raise Refused(401, "no or wrong bearer token")
            self.answer(*handle(urllib.parse.urlsplit(self.path)))
        except Refused as e:
            # What was not read would be taken for the next request.
            self.close_connection = True
            self.answer(e.status, {"error": str(e)})

    def do_GET(self):
        self.handled(self.get)

    def do_POST(self):
        self.handled(self.post)

    def do_DELETE(self):
        self.handled(self.delete)

    def get(self, url):
        if url.path == "/jobs":
            key = urllib.parse.parse_qs(url.query).get("key", [""])[0]
            job = self.jobs.by_key(key)
            return 200, {"jobs": [self.jobs.get(job)] if job else []}
        return 200, self.job(url)

    def post(self, url):
        if url.path != "/jobs":
            raise Refused(404, "no such path")
        key = self.headers.get("Idempotency-Key", "")
        # It stands in a search filter of MLflow, between single quotes.
        if not re.fullmatch(r"[^'\\\x00-\x1f]{1,500}", key):
            raise Refused(422, "Idempotency-Key: expected 1 to 500 characters without quotes")
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            raise Refused(413, f"expected a Content-Length of at most {BODY_BYTES_MAX}")
        try:
            body = checked(json.loads(self.rfile.read(int(length))))
        except ValueError as e:
            raise Refused(400, f"not JSON: {e}") from None
        job, new = self.jobs.open(key, body)
        if new:
            self.trainer.queue.put(job)
        return (201 if new else 200), self.jobs.get(job)

    def delete(self, url):
        job = self.job(url)
        self.jobs.move(job["jobId"], "cancelled")
        return 200, self.jobs.get(job["jobId"])

    def job(self, url):
        job = url.path.startswith("/jobs/") and self.jobs.get(urllib.parse.unquote(url.path[6:]))
        if not job:
            raise Refused(404, "no such job")
        return job


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mlflow", required=True, help="the MLflow server's URL")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="where the CSV files lie")
    parser.add_argument("--state", required=True, type=pathlib.Path, help="where the jobs are kept")
    parser.add_argument("--token", default=os.environ.get("TRAINING_TOKEN"), help="the bearer token to ask for")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--with-stdin", action="store_true", help="end when standard input ends")
    parser.add_argument("--crash-at", choices=STAGES, help="kill this process at a stage of a job")
    args = parser.parse_args()

    args.state.mkdir(parents=True, exist_ok=True)
    jobs = Jobs(args.state / "jobs.db")
    trainer = Trainer(jobs, args.mlflow, args.data, args.crash_at)
    Handler.jobs, Handler.trainer, Handler.token = jobs, trainer, args.token
    for job in jobs.unfinished():
        trainer.queue.put(job)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", args.port), Handler)

    def end():
        # A job in hand is in the database and goes on with the next start.
        os._exit(0)

    parts.end_with(end, args.with_stdin)
    threading.Thread(target=trainer.run, name="trainer", daemon=True).start()
    parts.say_up(url=f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


if __name__ == "__main__":
    main()
