"""The fixed names: pytest loads this module at start-up, so it imports nothing."""

from __future__ import annotations

#: The marker that registers a checkpoint.
MARKER = "checkpoint"
#: The fixture by which a test with several checkpoints becomes an item for each.
PARAMETER = "_ckpt_registration"
#: The attribute of a test report that carries what the item adds to the run, as JSON text.
CONTRIBUTION = "ckpt_compat"
#: Files in the root folder that register checkpoints.
PROJECT_FILES = ("pyproject.toml", "ckpt_compat.toml")
#: The one of them that holds nothing else.
OWN_FILE = PROJECT_FILES[1]
#: Folder of the snapshots, relative to the root folder, where no setting names another.
SNAPSHOT_DIR = "ckpt_snapshots"
#: Subfolder of the definitions' snapshots; a checkpoint's id may not begin with it.
DEFINITIONS = "definitions"
#: Ends the name of a snapshot's file.
SNAPSHOT_SUFFIX = ".json"
#: The command that records a definition again; a checkpoint's needs its id, too.
UPDATE = "ckpt-compat update"
#: The marker with its options, as ``options.signature`` writes it, which pytest is told at every start.
SIGNATURE = (
    f"{MARKER}(path, *, model, kwargs=None, key=None, strip_prefix=None, migrate=None, version=None, "
    "load=None, inputs=None, strict=True, id=None, allow=(), level=None, optimizer=None, optimizer_path=None)"
)
