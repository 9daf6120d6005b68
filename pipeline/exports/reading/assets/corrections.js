"use strict";
// Corrections: kept in the browser's storage, where it has one for the page, until they are saved as a JSONL file.

const corrections = (() => {
  // Pages from disk share one storage, whatever folder they are in.
  const SITE = new URL(document.querySelector("link[rel=icon]").href).pathname.replace(/page\/icon\.svg$/, "");
  const PREFIX = `correction:${SITE}:`;

  const storage = (() => {
    try {
      localStorage.getItem(PREFIX);
      return localStorage;
    } catch {
      return null; // the browser's settings forbid it: corrections live as long as the page
    }
  })();

  let isKept = storage !== null; // whether the storage has all that this page has

  const kept = () => isKept;

  const keyOf = (recording) => `${PREFIX}${recording.run_id}:${recording.recording_id}`;

  /** A line of the file: what jobs.evaluate needs to tell which text of which run is corrected. */
  const line = (recording, segment, corrected) => ({
    recording_id: recording.recording_id,
    uri: recording.uri,
    channel: segment.channel,
    segment_index: segment.segment_index,
    start_s: segment.start_s,
    end_s: segment.end_s,
    language: segment.language,
    text: segment.text,
    corrected_text: corrected,
    corrected_at: new Date().toISOString(),
    content_version: recording.content_version,
    run_id: recording.run_id,
    fingerprint: recording.fingerprint,
    sample: segment.sample ?? null,
  });

  /** The lines of one recording by channel and segment_index. */
  const of = (recording) => {
    const found = new Map();
    try {
      for (const one of JSON.parse(storage?.getItem(keyOf(recording)) ?? "[]")) {
        found.set(`${one.channel}:${one.segment_index}`, one);
      }
    } catch {
      // what others left there is none of ours
    }
    return found;
  };

  /** Take over what other pages have kept of a recording since; returns the keys of the lines that are others now. */
  const refresh = (recording, lines) => {
    if (!isKept) return [];
    const found = of(recording);
    const keys = new Set([...lines.keys(), ...found.keys()]);
    const changed = [...keys].filter((key) => JSON.stringify(lines.get(key)) !== JSON.stringify(found.get(key)));
    for (const key of changed) {
      if (found.has(key)) lines.set(key, found.get(key));
      else lines.delete(key);
    }
    return changed;
  };

  /** Keep the lines of a recording; returns whether the browser's storage has them. */
  const keep = (recording, lines) => {
    try {
      if (lines.size) storage.setItem(keyOf(recording), JSON.stringify([...lines.values()]));
      else storage.removeItem(keyOf(recording));
      isKept = true;
    } catch {
      isKept = false; // there is none, or it is full
    }
    return isKept;
  };

  /** The lines of all recordings that this browser has. */
  const all = () => {
    const found = [];
    for (let at = 0; storage && at < storage.length; at += 1) {
      const key = storage.key(at);
      if (!key.startsWith(PREFIX)) continue;
      try {
        found.push(...JSON.parse(storage.getItem(key)));
      } catch {
        // as above
      }
    }
    return found.sort((a, b) => (a.uri < b.uri ? -1 : a.uri > b.uri ? 1 : a.start_s - b.start_s));
  };

  const save = (lines) => {
    const text = lines.map((one) => `${JSON.stringify(one)}\n`).join("");
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "");
    download(`corrections-${stamp}.jsonl`, text, "application/jsonl");
  };

  return { line, of, kept, refresh, keep, all, save };
})();
