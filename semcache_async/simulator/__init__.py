"""An upstream without a model, of several APIs: for demonstrations, tests and load."""

from semcache_async.simulator.app import SIMULATOR, Simulator, make_simulator
from semcache_async.simulator.options import SimulatorOptions
from semcache_async.simulator.running import simulated

__all__ = ["SIMULATOR", "Simulator", "SimulatorOptions", "make_simulator", "simulated"]
