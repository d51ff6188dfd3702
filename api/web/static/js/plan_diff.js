// Two plans as two strips; tiles whose layers differ are outlined in both.

import { showReasons } from "/static/js/retarget_reasons.js";
import { offerSaving } from "/static/js/saving.js";
import { embedded } from "/static/js/service.js";
import { drawStrip, rowsOf } from "/static/js/strip.js";

const { ids, tiles } = embedded("diff-data");

document.querySelectorAll(".one-strip").forEach((figure, side) => {
  const name = ids[side].slice(0, 8);
  drawStrip(figure, { label: `Bits of each layer of plan ${name}` }).update(tiles[side]);
  offerSaving(figure, `plan-${name}`, () => rowsOf(tiles[side]));
});
showReasons(document.getElementById("reasons"), ...ids);
document.body.dataset.drawn = "1";
