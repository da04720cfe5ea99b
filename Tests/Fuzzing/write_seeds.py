"""Copies what a target of the fuzzer starts from: write_seeds.py ROOT TARGET FOLDER."""
import pathlib
import shutil
import sys
import zipfile

root, target, folder = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
fixtures = sorted(path for path in (root / "Tests/Fixtures").rglob("*") if path.is_file())
ends = {
    "zip": (".pt", ".npz"),
    "safetensors": (".safetensors", ".index.json"),
    "npy": (".npy",),
}
for number, path in enumerate(fixtures):
    if path.name.endswith(ends.get(target, ())) and path.stat().st_size <= 65536:
        shutil.copy(path, folder / f"seed-{number}")
    if target == "pickle" and path.suffix == ".pt" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            for name in file.namelist():
                if name.endswith("/data.pkl"):
                    member = file.open(name)
                    # Saved with its checksum switched off, a file has a wrong one.
                    member._expected_crc = None
                    (folder / f"seed-{number}").write_bytes(member.read())
if target == "job":
    for path in sorted((root / "Jobs").glob("*.yaml")):
        shutil.copy(path, folder / f"seed-{path.stem}")
if target == "names":
    name = "step=0___rank={}___dump_index={}___name=mlp__out___layer_id=3___recompute_status=disabled.pt"
    (folder / "seed-names").write_text("\n".join(name.format(rank, rank) for rank in range(3)) + "\n")
assert any(folder.iterdir()), f"no seed for {target}"
