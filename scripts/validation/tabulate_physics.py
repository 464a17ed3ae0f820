"""Attenuation of the materials and dose of the tubes as tables: ``scripts/validation/tabulate_physics.py``.

Nothing is measured here: these are the tables and formulas that the scanner computes with.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from ctmar.data.fingerprint import fingerprint
from ctmar.physics.materials import MATERIALS, attenuation
from ctmar.physics.spectra import filtered, photons_per_ray
from ctmar.report.provenance import command_line, made_now
from ctmar.report.record import Cell, Table, write_measured
from ctmar.report.result_pages import markdown

KEV = 70.0
KILOVOLTS = (80, 100, 120, 140)
COPPER = {"Cu": 0.2}


def materials() -> Table:
    """Density, attenuation and HU of every material at 70 keV."""
    water = float(attenuation("water", [KEV])[0])
    rows: list[list[Cell]] = []
    for name, material in MATERIALS.items():
        mu = float(attenuation(name, [KEV])[0])
        rows.append([f"`{name}`", material.density_g_cm3, 10 * mu, 1000 * (mu / water - 1)])
    return Table(
        f"Materials at {KEV:g} keV",
        ["material", "density, g/cm³", "attenuation, 1/cm", "CT number, HU"],
        rows,
        ["", ".4g", ".3f", ",.0f"],
    )


def dose() -> Table:
    """Photons of a tube through air, and what an integrating detector makes of them."""
    rows: list[list[Cell]] = []
    for kilovolts in KILOVOLTS:
        energies, photons = filtered(kilovolts, COPPER)
        share = np.asarray(photons) / np.sum(photons)
        mean = float((share * energies).sum())
        excess = float((share * np.square(energies)).sum()) / mean**2
        counts = [photons_per_ray(kilovolts, 1.0, 1.0, 1000.0, added) / 1e6 for added in ({}, COPPER)]
        rows.append([f"{kilovolts} kV", *counts, mean, excess])
    return Table(
        "Photons for each mAs and mm² at 1 m",
        ["tube", "3 mm Al, 10⁶", "and 0.2 mm Cu, 10⁶", "mean energy there, keV", "E[E²] / E[E]² there"],
        rows,
        ["", ".2f", ".2f", ".1f", ".3f"],
        "Proportional to the mAs. The last column: variance of an integrating detector to that of a counting"
        " one.",
    )


def main() -> int:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="F", help="write the tables to F, for ctmar results add")
    given = parser.parse_args()
    tables = [materials(), dose()]
    print("\n\n".join(markdown(table) for table in tables))
    if given.json is not None:
        made = made_now(command_line(), "the package's own tables", fingerprint({"tables": 1}))
        write_measured(given.json, "materials", "Materials and tubes", made, tables, "computed, not measured")
    return 0


if __name__ == "__main__":
    sys.exit(main())
