"""Called by `report`."""
import json, os, statistics, subprocess, sys, tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "DashboardTests"))
from browser import Browser

# Five cells of 125 layers by 20 stages: four comparisons, 10,000 rows.
JOB = """
name: long
matrix: {seed: [0, 1, 2, 3, 4]}
run: {command: "%s -B '%s' ${{ seed }}", env: {DUMPS: "${{ dump_dir }}"}, retries: 0}
dumps: {layout: atom, select: warm-up}
compare: {reference: {seed: 0}}
"""
WRITER = """
import os, sys, torch
base = torch.Generator().manual_seed(0)
own = torch.Generator().manual_seed(int(sys.argv[1]) + 1)
os.makedirs(os.environ["DUMPS"], exist_ok=True)
for layer in range(125):
    for stage in range(20):
        x = torch.randn(4, 64, generator=base)
        if sys.argv[1] != "0":
            x *= 1 + 1e-3 * torch.randn(4, 64, generator=own)
            if layer > 60 and sys.argv[1] in "34":
                x *= 2
        torch.save({"hidden": x.bfloat16()}, f"{os.environ['DUMPS']}/layer{layer:03}_Stage{stage:02}_rank0.pt")
"""


def main(rollcall, python):
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROLLCALL_STORE"] = folder + "/store"
        os.environ.pop("ROLLCALL_FLEET", None)
        with open(folder + "/writer.py", "w") as file:
            file.write(WRITER)
        with open(folder + "/job.yaml", "w") as file:
            file.write(JOB % (python, folder + "/writer.py"))
        code = subprocess.run([rollcall, "run", folder + "/job.yaml"], stdout=subprocess.DEVNULL).returncode
        assert code in (0, 1), code
        rows = sum(len(pair["comparison"]["rows"]) for pair in json.loads(
            subprocess.run([rollcall, "report", "last", "--json"], stdout=subprocess.PIPE).stdout)["pairs"])
        path = folder + "/report.html"
        subprocess.run([rollcall, "report", "last", "--format", "html", "-o", path], stdout=subprocess.DEVNULL)
        painted, loaded = [], []
        with Browser() as browser:
            for _ in range(7):
                page = browser.page()
                page.open("file://" + path)
                page.wait("performance.getEntriesByName('first-contentful-paint').length > 0")
                painted.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
                loaded.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
                page.close()
        print(f"{rows} rows: {os.path.getsize(path) / 1e6:.2f} MB; first paint {statistics.median(painted):.0f} ms, "
              f"loaded {statistics.median(loaded):.0f} ms (medians of {len(loaded)})")


main(*sys.argv[1:])
