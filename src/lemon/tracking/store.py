"""The MLflow store: its URI, and a client that is connected to it."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stderr,
    redirect_stdout,
)
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.errors import WorkFailed
from lemon.provenance import without_private_parts
from lemon.redaction import public_address, without_secrets
from lemon.tracking.database import database_ready

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DEFAULT_STORE = "mlflow.db"  # an SQLite file in the working folder
ARTIFACTS = "mlartifacts"
PRESET = "lemon.preset"  # the tag of our experiments
FIRST_ANSWER_S = 60.0  # time limit of the first answer
CONNECTING_TRIES = 2  # MLflow's default takes 100 s without an answer


def public_store() -> str:
    """The tracking URI without credentials and private paths."""
    return _on_one_line(without_private_parts(public_address(store_uri())))


def is_server() -> bool:
    """Whether the store is an MLflow server, which serves its own pages."""
    return store_uri().lower().startswith(("http://", "https://"))


def store_uri() -> str:
    """The tracking URI."""
    return os.environ.get("MLFLOW_TRACKING_URI", "").strip() or _sqlite(Path(DEFAULT_STORE))


def _sqlite(database: Path) -> str:
    """The URI of a file: absolute, because MLflow caches stores by URI, unless the path has a `?`,
    which a URI can't contain.
    """
    path = str(database.absolute())
    return f"sqlite:///{os.path.relpath(path) if '?' in path else path}"


def is_sqlite(store: str) -> bool:
    """Whether a store is an SQLite file."""
    return store.startswith(("sqlite:", "sqlite+"))


def reason_of(error: Exception) -> str:
    """An error's message in at most 400 characters, without secrets and SQL."""
    said = without_secrets(str(error) or type(error).__name__, about=store_uri())
    return _on_one_line(without_private_parts(said).partition("\n[SQL:")[0])[:400]


def _on_one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def answering_client() -> MlflowClient:
    """A client whose store has answered once; raises whatever error prevented that."""
    _quieten()
    from mlflow.store.db import utils
    from mlflow.tracking import MlflowClient

    utils.MAX_RETRY_COUNT = CONNECTING_TRIES
    store = store_uri()

    def ask() -> MlflowClient:
        client = MlflowClient(tracking_uri=store)
        client.search_experiments(max_results=1)
        return client

    with _local_database(store), silence():
        return _within(FIRST_ANSWER_S, ask)


def _within(seconds: float, ask: Callable[[], MlflowClient]) -> MlflowClient:
    """Return or raise what `ask` does; TimeoutError if it has not ended within `seconds`.

    Its daemon thread then keeps running until the process ends.
    """
    future: futures.Future[MlflowClient] = futures.Future()

    def wait() -> None:
        try:
            future.set_result(ask())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    if not futures.wait([future], timeout=seconds).done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return future.result()


@contextmanager
def silence() -> Iterator[None]:
    """Discard log messages, warnings and output of the block, which calls MLflow."""
    nowhere = io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(nowhere), redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _local_database(store: str) -> AbstractContextManager[None]:
    """A context that creates or repairs an SQLite store; does nothing for other stores."""
    from sqlalchemy.engine import make_url

    if not is_sqlite(store):
        return nullcontext()
    url = make_url(store)
    name = url.database
    if url.host or url.username or str(name).startswith("file:"):
        return nullcontext()  # wrong, or SQLite's own URI form: left to MLflow
    if name in (None, "", ":memory:"):
        raise WorkFailed("a database in memory is lost when this command ends; name a file")
    path = Path(name).absolute()
    ours = path == Path(DEFAULT_STORE).absolute()
    return database_ready(path, _open_and_leave, schema=_newest_schema(), ours=ours)


def _newest_schema() -> str:
    """The table version that the installed MLflow requires."""
    from alembic.script import ScriptDirectory
    from mlflow.store import db_migrations

    [folder] = db_migrations.__path__
    return str(ScriptDirectory(folder).get_current_head())


def _open_and_leave(database: Path) -> None:
    """Let MLflow create or complete a database, and close the connection."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with silence():
        store = SqlAlchemyStore(_sqlite(database), Path(ARTIFACTS).absolute().as_uri())
        store.engine.dispose()


def _quieten() -> None:
    """Before mlflow is imported: turn off telemetry and messages, set short time limits."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with silence():
        import mlflow  # configures its loggers, which are silenced below

    for name in (mlflow.__name__, "alembic", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
