from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import boto3
import pytest

from keepwarm import daemon, mirror
from keepwarm.clock import utc_now
from keepwarm.errors import ConfigError, KeepwarmError
from keepwarm.mirror import Mirror, Remote, remote_of
from keepwarm.model import Event
from keepwarm.parts import read_registry
from keepwarm.settings import Settings
from tests.daemons import PATIENCE_SECONDS, soon, write_registry

BUCKET = "prompts"
S3 = f"s3://{BUCKET}/team/registry.yaml"


@pytest.fixture
def s3(cloud: str):
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def ssm(cloud: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    return boto3.client("ssm")


def put(s3, **texts: str) -> None:
    for name, text in texts.items():
        s3.put_object(Bucket=BUCKET, Key=f"team/{name.replace('__', '/')}.yaml", Body=text.encode())


def mirror_of(source: str, home: Path) -> Mirror:
    remote = remote_of(source, "KEEPWARM_REGISTRY")
    assert remote
    return Mirror(remote, home)


@pytest.mark.parametrize(
    ("source", "remote"),
    [
        ("config/registry.yaml", None),
        ("/etc/s3:/registry.yaml", None),
        ("s3://bucket/registry.yaml", Remote("s3", "bucket", "", "registry.yaml")),
        ("s3://bucket/a/b/registry.yaml", Remote("s3", "bucket", "a/b/", "registry.yaml")),
        ("ssm:/keepwarm/registry.yaml", Remote("ssm", "", "/keepwarm/", "registry.yaml")),
    ],
)
def test_a_source_is_a_file_or_a_place_in_aws(source: str, remote: Remote | None):
    assert remote_of(source, "KEEPWARM_REGISTRY") == remote


@pytest.mark.parametrize("source", ["s3://bucket", "s3://bucket/folder/", "s3:///key", "ssm:/registry.yaml", "ssm:/a/"])
def test_a_source_that_names_no_registry_is_refused_with_an_example(source: str):
    with pytest.raises(ConfigError, match=r"KEEPWARM_REGISTRY: .* write for example"):
        remote_of(source, "KEEPWARM_REGISTRY")


def test_the_registry_and_what_lies_beside_it_are_copied_from_s3(s3, tmp_path: Path):
    put(s3, registry="version: 1", prompts__support="Be kind.")
    s3.put_object(Bucket=BUCKET, Key="team/empty/", Body=b"")
    s3.put_object(Bucket=BUCKET, Key="teamwork/registry.yaml", Body=b"another's")
    copy = mirror_of(S3, tmp_path / "home")
    assert copy.refresh()
    assert copy.path.read_text() == "version: 1"
    assert (copy.path.parent / "prompts" / "support.yaml").read_text() == "Be kind."
    assert {path.name for path in copy.path.parent.iterdir()} == {"registry.yaml", "prompts", ".versions.json"}
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0


def test_the_same_is_not_copied_twice_and_a_change_is_whole_or_not_there(s3, tmp_path: Path):
    put(s3, registry="version: 1", support="old")
    copy = mirror_of(S3, tmp_path)
    copy.refresh()
    before = copy.path.resolve()
    assert not copy.refresh()
    assert copy.path.resolve() == before
    assert not copy.changed()
    put(s3, support="new")
    assert copy.changed()
    assert copy.refresh()
    assert (copy.path.parent / "support.yaml").read_text() == "new"
    assert before.exists()  # somebody may be reading it
    put(s3, support="newest")
    copy.refresh()
    assert not before.exists()


def test_a_copy_outlives_the_process_that_made_it(s3, tmp_path: Path):
    put(s3, registry="version: 1")
    mirror_of(S3, tmp_path).refresh()
    assert not mirror_of(S3, tmp_path).refresh()


def test_parameters_are_copied_from_ssm_secrets_too(ssm, tmp_path: Path):
    ssm.put_parameter(Name="/keepwarm/registry.yaml", Value="version: 1", Type="String")
    ssm.put_parameter(Name="/keepwarm/prompts/support.md", Value="Be kind.", Type="SecureString")
    ssm.put_parameter(Name="/other/registry.yaml", Value="another's", Type="String")
    copy = mirror_of("ssm:/keepwarm/registry.yaml", tmp_path)
    assert copy.refresh()
    assert (copy.path.parent / "prompts" / "support.md").read_text() == "Be kind."
    ssm.put_parameter(Name="/keepwarm/registry.yaml", Value="version: 1 # again", Type="String", Overwrite=True)
    assert copy.refresh()
    assert copy.path.read_text() == "version: 1 # again"


def test_what_is_not_there_is_told_with_what_to_grant(s3, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"s3://prompts/team/registry\.yaml: there is no registry") as told:
        mirror_of(S3, tmp_path).refresh()
    assert "s3:ListBucket" in told.value.hint
    with pytest.raises(KeepwarmError, match=r"the registry in s3://nobodys/registry\.yaml cannot be read"):
        mirror_of("s3://nobodys/registry.yaml", tmp_path).refresh()


def test_a_missing_region_is_told_as_such(cloud: str, tmp_path: Path):
    with pytest.raises(KeepwarmError, match="You must specify a region"):
        mirror_of("ssm:/keepwarm/registry.yaml", tmp_path).refresh()


def test_a_failure_leaves_the_copy_before_as_it_is(s3, tmp_path: Path):
    put(s3, registry="version: 1")
    copy = mirror_of(S3, tmp_path)
    copy.refresh()
    s3.put_object(Bucket=BUCKET, Key="team/registry.yaml/not-a-folder", Body=b"")
    with pytest.raises(ConfigError, match="cannot be written"):
        copy.refresh()
    assert copy.path.read_text() == "version: 1"
    assert len([path for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]) == 1


@pytest.mark.parametrize("key", ["team/../../escape", "team//etc/passwd"])
def test_a_name_that_would_leave_the_folder_is_refused(s3, tmp_path: Path, key: str):
    put(s3, registry="version: 1")
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    with pytest.raises(ConfigError, match="outside its folder"):
        mirror_of(S3, tmp_path / "home").refresh()
    assert [path.name for path in (tmp_path / "home").iterdir()] == [".lock"]


def test_too_much_beside_the_registry_is_not_fetched(s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(s3, registry="version: 1", support="Be kind.")
    monkeypatch.setattr(mirror, "MAX_FILES", 1)
    with pytest.raises(ConfigError, match="more than 1 files"):
        mirror_of(S3, tmp_path).refresh()


# -- as the setting of a registry ---------------------------------------------------------------------------------


@pytest.fixture
def settings(s3, tmp_path: Path) -> Settings:
    folder = tmp_path / "source"
    folder.mkdir()
    write_registry(folder / "registry.yaml", "a", defaults={"policy": "busy_hours"})
    for path in folder.iterdir():
        s3.upload_file(str(path), BUCKET, f"team/{path.name}")
    return Settings(registry=S3, state_dir=tmp_path / "state")


def test_a_registry_in_s3_is_read_like_a_file(settings: Settings):
    registry, _ = read_registry(settings, utc_now())
    assert [prefix.name for prefix in registry.prefixes] == ["a"]


def test_without_aws_the_copy_from_before_is_used_and_told(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    read_registry(settings, utc_now())
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    registry, _ = read_registry(settings, utc_now())
    assert [prefix.name for prefix in registry.prefixes] == ["a"]
    assert any("the copy from before is used" in str(warning) for warning in registry.warnings)


def test_nothing_is_written_beside_a_registry_in_s3(settings: Settings):
    with pytest.raises(ConfigError, match="is no file"):
        _ = settings.registry_path


def test_a_running_daemon_takes_up_a_change_in_s3_and_tells_when_it_cannot_ask(
    settings: Settings, s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(daemon, "_MIRROR_EVERY", timedelta(seconds=0.2))
    settings = settings.model_copy(update={"listen": "off", "stopped": True})
    events: list[Event] = []
    with daemon.build(settings, observers=[events.append]) as service, ThreadPoolExecutor(1) as pool:
        code = pool.submit(service.run)
        write_registry(tmp_path / "source" / "registry.yaml", "a", "b")
        for path in (tmp_path / "source").iterdir():
            s3.upload_file(str(path), BUCKET, f"team/{path.name}")
        assert soon(lambda: set(service.parts.keeper.names) == {"a", "b"})
        s3.delete_object(Bucket=BUCKET, Key="team/b.md")
        assert soon(lambda: any(event.name == "registry_refused" for event in events))
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        assert soon(lambda: any(event.name == "registry_unreachable" for event in events))
        assert set(service.parts.keeper.names) == {"a", "b"}
        service.stop()
        assert code.result(PATIENCE_SECONDS) == 0
