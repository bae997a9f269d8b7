"""Strategies of implementation: what each step is told (UG904, "Implementation Strategies")."""

from __future__ import annotations

# Directives of opt_design, place_design, phys_opt_design and route_design. After routing, all go on
# with phys_opt_design, as Performance_ExplorePostRoutePhysOpt does.
STRATEGIES = {
    "Performance_ExplorePostRoutePhysOpt": ("Explore", "Explore", "Explore", "Explore"),
    "Performance_ExtraTimingOpt": ("Default", "ExtraTimingOpt", "Explore", "NoTimingRelaxation"),
    "Performance_NetDelay_high": (
        *("Default", "ExtraNetDelay_high"),
        *("AggressiveExplore", "NoTimingRelaxation"),
    ),
    "Performance_NetDelay_low": (
        *("Explore", "ExtraNetDelay_low"),
        *("AggressiveExplore", "NoTimingRelaxation"),
    ),
    "Performance_EarlyBlockPlacement": ("Explore", "EarlyBlockPlacement", "Explore", "Explore"),
    "Performance_WLBlockPlacement": ("Default", "WLDrivenBlockPlacement", "Explore", "Explore"),
    "Congestion_SpreadLogic_high": (
        *("Default", "AltSpreadLogic_high"),
        *("AggressiveExplore", "AlternateCLBRouting"),
    ),
}
# What is tried unless told otherwise: different placements, the most common choice first.
TRIED = (
    "Performance_ExplorePostRoutePhysOpt",
    "Performance_ExtraTimingOpt",
    "Performance_NetDelay_high",
)


def directives(strategy: str) -> dict[str, str]:
    """The settings of implement.tcl for a strategy."""
    steps = ("opt", "place", "phys_opt", "route")
    found = dict(zip(steps, STRATEGIES[strategy], strict=True))
    return {**found, "post_route": "AggressiveExplore"}
