"""No password and no token leaves within an address: every form that people write, and addresses that must stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tracking_stores import all_runs, fresh_store

from monai_fpt.handlers import FPTTracker, fpt_log_run, fpt_tracked_params
from monai_fpt.handlers._addresses import hidden_address, hidden_text
from monai_fpt.handlers._run_file import stored_uri
from monai_fpt.handlers._told import kept, told

SECRET = "s3cret"
ADDRESSES = {
    "password": ("http://ann:s3cret@host:5000", "http://***@host:5000"),
    "token as user": ("https://s3cret@host/mlflow", "https://***@host/mlflow"),
    "token as user, dummy password": ("https://s3cret:x-oauth-basic@host/m", "https://***@host/m"),
    "query": ("http://host/api?password=s3cret&token=s3cret", "http://host/api?password=***&token=***"),
    "query beside harmless": (
        "postgresql://host/db?sslmode=require&sslpassword=s3cret",
        "postgresql://host/db?sslmode=require&sslpassword=***",
    ),
    "query without a name": ("http://host/hook?s3cret", "http://host/hook?***"),
    "query with an at": ("http://host/api?token=a@s3cret", "http://***"),
    "user and query with an at": ("postgresql://ann@h/db?password=a@s3cret", "postgresql://ann@h/db?password=***"),
    "query with a semicolon": ("http://host/api?a=1;token=s3cret", "http://host/api?a=***;token=***"),
    "fragment": ("http://host/#access_token=s3cret", "http://host/#***"),
    "slash in the password": ("postgresql://ann:s3/cret@host/db", "postgresql://ann:***@host/db"),
    "at in the password": ("postgresql://ann:s3@s3cret@host/db", "postgresql://ann:***@host/db"),
    "slash and at in the password": ("mysql://ann:s3/@s3cret/@host/db", "mysql://ann:***@host/db"),
    "question mark in the password": ("postgresql://ann:s3?s3cret@host/db?mode=ro", "postgresql://ann:***@host/db?mode=ro"),
    "query within the password": ("postgresql://ann:s3cret?a=b@host/db", "postgresql://***"),
    "sharp in the password": ("postgresql://ann:s3#s3cret@host/db", "postgresql://ann:***@host/db"),
    "colon in the password": ("postgresql://ann:s3:s3cret@host/db", "postgresql://ann:***@host/db"),
    "driver": ("postgresql+psycopg://ann:s3cret@host/db", "postgresql+psycopg://ann:***@host/db"),
    "password without user": ("redis://:s3cret@host/0", "redis://:***@host/0"),
    "IPv6": ("http://ann:s3cret@[2001:db8::1]:5000/m", "http://***@[2001:db8::1]:5000/m"),
    "IPv6, database": ("postgresql://ann:s3cret@[::1]:5432/db", "postgresql://ann:***@[::1]:5432/db"),
    "several hosts": ("postgresql://ann:s3cret@a:1,b:2/db", "postgresql://ann:***@a:1,b:2/db"),
    "encrypted SQLite": ("sqlite+pysqlcipher://:s3cret@//data/x.db", "sqlite+pysqlcipher://:***@//data/x.db"),
}  # fmt: skip
HARMLESS = [
    "http://127.0.0.1:5000",
    "https://tracking.example/mlflow/",
    "http://[::1]:5000",
    "postgresql+psycopg://ann@host/mlflow?sslmode=require",
    "postgresql://a:1,b:2/db?target_session_attrs=read-write",
    "sqlite:////data/mlflow.db?timeout=20",
    "http://host:5000/#/experiments/1/runs/2",
    "models:/melanoma@champion",
    "databricks",
    "ann@host.example",
    "and/or",
]


@pytest.mark.parametrize(("address", "hidden"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_is_hidden_as_a_whole_and_within_texts(address: str, hidden: str) -> None:
    assert hidden_address(address) == hidden
    assert hidden_address(hidden) == hidden
    for text in (f"see {address} there", f"$open('{address}', 'r')", f'{{"uri": "{address}"}}'):
        assert SECRET not in hidden_text(text) and "s3" not in hidden_text(text)
    assert hidden_text(f"$open('{address}', 'r')") == f"$open('{hidden}', 'r')"


@pytest.mark.parametrize("address", HARMLESS)
def test_what_holds_no_password_stays_as_it_is(address: str) -> None:
    assert hidden_address(address) == address
    assert hidden_text(f"see {address} there") == f"see {address} there"


@pytest.mark.parametrize("address", [address for address, _ in ADDRESSES.values()], ids=ADDRESSES)
def test_the_file_of_a_run_and_its_configuration_hold_none(address: str, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "tracking_uri": address,
        "note": f"sent to {address}",
        "opened": f"$connect('{address}')",
        "list": [{"deep": [address]}],
        "api_key": SECRET,
        "database": {"password": SECRET, "host": "here"},
        "dsn": f"host=here password={SECRET}",
    }
    texts = [stored_uri(address, tmp_path), json.dumps(kept(config)), json.dumps(told(config))]
    assert not [text for text in texts if "s3" in text]
    assert kept(config)["database"]["host"] == "here"


def test_a_word_in_a_configuration_that_only_looks_like_a_secret_stays() -> None:
    config = {"token_ratio": 0.5, "num_tokens": "16", "prompt": "a", "key": "image", "password": "$os.environ['P']"}
    assert told(config) == config


def test_no_parameter_tag_error_or_configuration_in_the_store_holds_a_password(tmp_path: Path) -> None:
    address = f"https://{SECRET}@host/m"
    uri = fresh_store(tmp_path / "store")
    config = {"tracking_uri": address, "url": address, "expression": f"$open('{address}')", "all": [address]}
    tracker = FPTTracker(tmp_path / "run", run_name="one", tracking_uri=uri, system_metrics=False)
    tracker.log_params({"config": fpt_tracked_params(config), "mine": address})
    tracker.set_tags({"where": address})
    fpt_log_run(tracker, tmp_path / "run", config)
    tracker.fail(ValueError(f"no answer from {address}"))
    run = all_runs(uri)["one"]
    assert run.data.params["mine"] == "https://***@host/m" and run.data.tags["where"] == "https://***@host/m"
    assert run.data.tags["error"] == "ValueError: no answer from <path>"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.json", "mlflow.db"} <= {path.name for path in files}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    "text",
    ["$@pool_token == 'cls'", "class_token=True", "num_tokens=16", "$@token == 'x'", "side_token=cls"],
)
def test_tokens_of_a_network_are_no_secrets(text: str) -> None:
    assert hidden_text(text) == text


@pytest.mark.parametrize(
    "config",
    [{"api_keys": [SECRET]}, {"hfToken": SECRET}, {"db_passwords": {"ann": SECRET}}, {"auth_tokens": [SECRET]}],
    ids=lambda config: next(iter(config)),
)
def test_what_stands_under_a_secret_s_name_is_hidden_whole(config: dict[str, object]) -> None:
    assert kept(config) == told(config) == dict.fromkeys(config, "***")
