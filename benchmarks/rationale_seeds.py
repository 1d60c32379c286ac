"""One recipe with several seeds: train, evaluate on test, and the mean ± deviation of every score.

    python benchmarks/rationale_seeds.py recipes/rationale/sst5.toml --seeds 1 2 3 --out out/seeds

Runs recipes/rationale/train.py and evaluate.py as a user would, each seed in a directory of its own
(``OUT/TOML-NAME-SEED``); what is there already is not run again. ``--set`` as in train.py, with
``--name`` telling such runs apart. Prints a Markdown table, and ``--json`` keeps it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from latentnlp.evaluation.rationale import spread  # noqa: E402

RECIPE = ROOT / "recipes" / "rationale"
VIEWS = ("rationale only", "complement only", "full text", "random rationale")
AGREEMENT = ("f1", "precision", "recall", "iou_f1", "auprc", "average_precision", "f1_at_human")


def main() -> None:
    options = parse()
    runs = [one_seed(options, seed) for seed in options.seeds]
    rows = {name: [run[name] for run in runs if name in run] for name in runs[0]}
    lines = ["| score | " + " | ".join(f"seed {seed}" for seed in options.seeds) + " | mean ± sd |"]
    lines.append("| --- |" + " ---: |" * (len(runs) + 1))
    for name, values in rows.items():
        mean = spread(values)
        cells = " | ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {name} | {cells} | {mean.mean:.3f} ± {mean.deviation:.3f} |")
    print("\n".join(lines))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2))


def one_seed(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """The scores of one run, by name."""
    run = options.out / f"{options.recipe.stem}{options.name and '-' + options.name}-{seed}"
    cost = run / "cpu_seconds.json"
    if not cost.exists():
        settings = [part for one in [*options.set, f"seed={seed}"] for part in ("--set", one)]
        train = [RECIPE / "train.py", options.recipe, "--out", run, *settings]
        cost.write_text(json.dumps(call(train)))
    shuffled = ["--shuffle-sentences"] if options.shuffle_sentences else []
    scores = run / f"scores.{options.part}{'.shuffled' if shuffled else ''}.json"
    if not scores.exists():
        call([RECIPE / "evaluate.py", run, "--part", options.part, *shuffled])
    record = json.loads(scores.read_text())
    result: dict[str, float] = {}
    for method, one in record.items():
        result |= {f"{method}: {name}": value for name, value in flat(one).items()}
    return result | {"CPU seconds of training": json.loads(cost.read_text())}


def flat(one: dict[str, Any]) -> dict[str, float]:
    """What the tables show of one evaluation."""
    task, found = one["task"], {}
    for view in VIEWS:
        score = task[view]
        names = {"accuracy": "accuracy", "macro_f1": "macro F1", "mse": "MSE"}
        found |= {f"{named}, {view}": score[n] for n, named in names.items() if n in score}
    found["selected (pooled)"] = one["selection"]["rate_micro"]
    found["none selected"] = one["selection"]["none"]
    found["all selected"] = one["selection"]["all"]
    for name in ("comprehensiveness", "sufficiency"):
        if one["faithfulness"]:
            found[name] = one["faithfulness"][name]
            found[f"{name}, AOPC"] = one["faithfulness"][f"{name}_aopc"]
    if one["agreement"]:
        found |= {f"agreement, {name}": one["agreement"][name] for name in AGREEMENT}
    if one["mask_probe"]:
        found["mask probe"] = one["mask_probe"]["accuracy"]
        for name in ("count", "runs", "place"):
            found[f"mask probe, {name}"] = one["mask_probe"][name]
        found["majority class"] = one["mask_probe"]["majority"]
    return found


def call(command: list[Any]) -> float:
    """Run a script of this repository; its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, *map(str, command)], check=True, env=environment, stdout=sys.stderr
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path, help="a TOML of recipes/rationale")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("out/seeds"))
    parser.add_argument("--name", default="", help="of the runs, where --set makes them others")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--part", choices=("dev", "test"), default="test")
    parser.add_argument("--shuffle-sentences", action="store_true", help="as in evaluate.py")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
