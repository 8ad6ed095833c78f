"""What a package must not tell: folders and passwords that a user's configuration holds, in whatever form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from registry_toys import copied_run

from monai_fpt.registry import package_model
from monai_fpt.registry.privacy import refuse_private_text

PRIVATE = Path("/srv/ann/run 1")
TOLD = {
    "as it is": ("a.md", "made in /srv/ann/run 1/x"),
    "address": ("a.txt", "file:///srv/ann/run%201/x"),
    "Linux": ("a.json", '{"a": "$load(\'/data/ann/x.csv\')"}'),
    "Windows": ("a.json", r'{"a": "C:\\Users\\ann\\x.csv"}'),
    "Windows, slashes": ("a.yaml", "a: D:/users/ann/x.csv"),
    "UNC": ("a.json", r'{"a": "see \\\\server\\ann\\x.csv"}'),
    "file": ("MLmodel", "uri: file:///data/ann/x"),
}
SECRETS = {
    "password": '{"a": "$open(\'postgresql://u:p@h/db\')"}',
    "token": '{"a": ["https://t0ken@host"]}',
    "query": '{"a": "http://host/?token=x"}',
}
ORDINARY = [
    '{"a": "and/or 1/2/2024 https://example.org/a/b/c 5 mm/s", "b": "$@run_dir + \'/a/b\'"}',
    '{"source": "models:/melanoma/3", "media": "image/jpeg", "pattern": "^a/.*$"}',
    '{"a": "//"}',
    '{"a": "https://openreview.net/forum?id=x1, https://medium.com/@ann/fpt, http://***@host, ann@host"}',
]


@pytest.mark.parametrize(("name", "text"), TOLD.values(), ids=TOLD)
def test_a_text_that_tells_a_folder_is_refused(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{name} would tell the registry of the folder "):
        refuse_private_text(tmp_path, [PRIVATE])


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS)
def test_a_text_that_tells_a_password_is_refused_without_repeating_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"^a\.json would tell the registry a password or a token within an address"):
        refuse_private_text(tmp_path, [PRIVATE])


@pytest.mark.parametrize("name", ["notes.md", "a.py", "run.sh", "t.toml", "x.cfg", "README"])
def test_any_text_is_searched_for_known_folders_and_passwords(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(f"cd {PRIVATE}", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{name} would tell the registry of the folder "):
        refuse_private_text(tmp_path, [PRIVATE])
    (tmp_path / name).write_text("curl http://ann:s3cret@host/", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{name} would tell the registry a password"):
        refuse_private_text(tmp_path, [PRIVATE])


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_not_refused(text: str, tmp_path: Path) -> None:
    json.loads(text)
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    refuse_private_text(tmp_path, [PRIVATE, Path("/"), Path("/srv")])


def test_a_package_holds_the_configuration_without_folders_and_passwords(toy_run: Path, tmp_path: Path) -> None:
    run = copied_run(toy_run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config |= {
        "reader": f"$my.reader('{run}/atlas.json', r'C:\\Users\\ann\\b.csv')",
        "note": "from file:///home/ann/c.csv and/or \\\\server\\share\\d.csv",
        "tracking_uri": "https://tok3n@host",
        "source": "postgresql+psycopg://u:p/w@h/db",
    }
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    package = package_model(run, tmp_path / "fpt")
    packed = json.loads((package.folder / "config.json").read_text(encoding="utf-8"))
    assert packed["reader"] == "$my.reader('atlas.json', r'b.csv')"
    assert packed["note"] == "from c.csv and/or d.csv"
    assert packed["source"] == "postgresql+psycopg://u:***@h/db"
    assert "tok3n" not in json.dumps(packed)
