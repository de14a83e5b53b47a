/** Names for containers that nobody has named: a quality and something that burns or glows. */
import { randomInt } from "node:crypto";

const QUALITIES = [
  "able amber ample apt arctic artful ashen avid awake balmy bold brave breezy bright brisk calm candid careful",
  "cheery civil clear clever coral cosy crisp curious daring deft dapper eager early earnest easy elegant fair",
  "famed fast fine firm fluent fond frank free fresh frosty gentle gifted glad golden grand handy hardy hasty",
  "honest humble ideal jolly keen kind level light lively loyal lucid lucky mellow merry mild modest neat nimble",
  "noble novel patient placid plucky polite proud quick quiet ready robust rustic sage sharp shiny silent silver",
  "sleek snug sober spry stable stellar sturdy sunny sure swift tender tidy trim trusty upbeat vivid warm wise",
]
  .join(" ")
  .split(" ");

const THINGS = [
  "aurora beacon blaze bonfire brazier brand burner campfire candela candle charcoal cinder coal comet corona",
  "ember filament firefly firelight flame flare flash flicker flint forge furnace gleam glimmer glint glow glowworm",
  "halo hearth ignition kiln kindling lamp lantern lighthouse lightning lumen match meteor moonbeam nova oven",
  "phoenix photon prism pulsar quasar radiance ray rocket salamander smelter spark sparkler spectrum star starlight",
  "stove sun sunbeam sunrise sunset supernova taper tinder torch twilight volcano wick wildfire",
]
  .join(" ")
  .split(" ");

function oneOf(words: readonly string[]): string {
  return words[randomInt(words.length)] ?? "";
}

/** `quiet_ember`; after some that were taken, with a number behind it. */
export function randomName(attempt = 0): string {
  return `${oneOf(QUALITIES)}_${oneOf(THINGS)}${attempt < 3 ? "" : randomInt(10, 10_000)}`;
}
