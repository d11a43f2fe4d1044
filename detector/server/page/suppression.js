// The last stage, as detector/postprocessing.py has it: threshold, each class suppressed by itself, one name for one
// thing, limits. The page does it again whenever a slider moves.

/** Intersection over union of two boxes x1 y1 x2 y2; 0 where one has no area. */
export function iou(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (c) => (c[2] - c[0]) * (c[3] - c[1]);
  return (width * height) / (area(a) + area(b) - width * height);
}

/** The number of the box of several that has the greatest overlap with one; 0 if none has any. */
export function nearest(boxes, one) {
  const overlaps = boxes.map((box) => iou(box, one));
  return Math.max(0, overlaps.indexOf(Math.max(...overlaps)));
}

/** What stays of the candidates of a walk, best first, and by which of these each other one was suppressed.
 *  A candidate is {row, label, score, box}; `by` of a suppressed one is a candidate. */
export function suppress(walk, settings) {
  const { row, label, score } = walk.scores;
  const candidates = [];
  for (let k = 0; k < row.length; k++) {
    const box = walk.regions.moved[row[k]];
    if (score[k] >= settings.score_threshold && box[2] > box[0] && box[3] > box[1]) {
      candidates.push({ row: row[k], label: label[k], score: score[k], box });
    }
  }
  candidates.sort((a, b) => b.score - a.score || a.row - b.row || a.label - b.label);
  const kept = [], suppressed = [], ofClass = new Map();
  for (const one of candidates) {
    const same = ofClass.get(one.label) ?? [];
    const by = same.find((other) => iou(one.box, other.box) > settings.iou_threshold);
    if (by) suppressed.push({ ...one, by, why: "overlap" });
    else if (same.length < settings.max_per_class) {
      same.push(one);
      ofClass.set(one.label, same);
      kept.push(one);
    }
  }
  const named = [];
  for (const one of kept) {
    const by = settings.one_name_iou && named.find((other) => iou(one.box, other.box) >= settings.one_name_iou);
    if (by) suppressed.push({ ...one, by, why: "name" });
    else named.push(one);
  }
  return { kept: settings.max_detections ? named.slice(0, settings.max_detections) : named, suppressed };
}
