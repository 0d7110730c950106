"""Scenes of people and things, rendered with everything that is true of them."""

from jaxrec.data.simulators.scenes.simulator import SimulatedScenes as SimulatedScenes
from jaxrec.data.simulators.scenes.simulator import Staged as Staged
from jaxrec.data.simulators.scenes.simulator import simulate as simulate
from jaxrec.data.simulators.scenes.simulator import simulate_scene as simulate_scene
from jaxrec.data.simulators.scenes.simulator import stage_scene as stage_scene
from jaxrec.data.simulators.scenes.simulator import survey as survey
from jaxrec.data.simulators.scenes.world import VOCABULARY as VOCABULARY
from jaxrec.data.simulators.scenes.world import World as World
