"use strict";
// A recording's page: its facts, player, text, answers, and the keys.

(() => {
  const recording = JSON.parse(byId("data").textContent);
  const lines = corrections.of(recording);
  for (const { channel, segment_index, sample } of recording.segments) {
    const line = lines.get(`${channel}:${segment_index}`); // it may be older than the sample, and tells as much
    if (line && sample) line.sample = sample;
  }
  if (lines.size) corrections.keep(recording, lines);
  const wanted = search.terms(hashFields().get("q") ?? "", true);
  const SMALL_S = 5;
  const KEYS = [
    ["Space", "play, pause"],
    ["← →", "5 seconds"],
    ["↑ ↓", "segment"],
    ["N", "next flag or doubtful word"],
    ["Shift+N", "the one before"],
    ...(recording.segments.some((one) => one.sample) ? [["R", "next to review"], ["Shift+R", "the one before"]] : []),
    ["E", "edit"],
    ["Ctrl+Enter", "keep the edit"],
  ];
  let scrolledAt = -Infinity;
  let transcript;

  const facts = () => {
    byId("title").textContent = document.title;
    const { language, language_probability: probability } = recording;
    const model = recording.model.replace(/^\/.*\//, ""); // of a folder its name
    const shown = [outcomeChip(recording.outcome + (recording.failure_code ? `: ${recording.failure_code}` : ""))];
    if (language) {
      const sure = probability === null ? "" : ` ${probability.toFixed(2)}`;
      shown.push(
        make("span", { className: "chip", title: "Language, and how likely it is" }, languageName(language) + sure),
      );
    }
    shown.push(...(recording.flags ?? []).map(flagChip));
    shown.push(
      make(
        "span",
        { className: "soft" },
        `${clock(recording.duration_s)} · ${recording.transcribed_at.slice(0, 10)} · ${model}`,
      ),
    );
    byId("facts").append(...shown);
    if (recording.failure_detail) byId("facts").append(make("p", { className: "note" }, recording.failure_detail));
    try {
      byId("back").href += /^#[^:]*$/.exec(sessionStorage.getItem("index") ?? "")?.[0] ?? "";
    } catch {
      // the way back leads to all recordings
    }
  };

  const answer = (one) =>
    make(
      "article",
      { className: "answer" },
      make("h3", { dir: "auto" }, one.question),
      one.group ? make("p", { className: "soft" }, `About ${one.group} recordings together`) : null,
      one.answer === null ? null : make("p", { className: "text", dir: "auto" }, one.answer),
      ...(one.tool_calls ?? []).map(([name, given]) =>
        make("p", { className: "call" }, make("strong", {}, name), make("code", {}, given)),
      ),
      one.failure_code &&
        make("p", { className: "soft" }, `${one.failure_code.replaceAll("_", " ")}: ${one.failure_detail ?? ""}`),
      make("span", { className: "chips" }, ...(one.flags ?? []).map(flagChip)),
      ...(one.parts ?? []).map((part) =>
        make(
          "p",
          { className: "part", dir: "auto" },
          // A part of a transcript has no times.
          part.end_s > part.start_s ? make("a", { href: `#t=${part.start_s.toFixed(2)}` }, clock(part.start_s)) : null,
          " ",
          part.answer ?? "–",
        ),
      ),
    );

  const list = (pairs) =>
    make(
      "dl",
      {},
      ...pairs.flatMap(([name, value]) => [
        make("dt", { dir: "auto" }, name),
        make("dd", { dir: "auto" }, String(value)),
      ]),
    );

  const beside = () => {
    const { answers, columns } = recording;
    const own = [
      "uri",
      "recording_id",
      "declared_language",
      "language_source",
      "unexpected_language",
      "speech_s",
      "range_start_s",
      "range_end_s",
    ];
    const origin = [
      "model",
      "model_revision",
      "runtime",
      "runtime_version",
      "pipeline_version",
      "run_id",
      "fingerprint",
      "content_version",
    ];
    const of = (names) => names.filter((name) => recording[name] !== null).map((name) => [name, recording[name]]);
    const mix = (recording.languages ?? []).map((one) => [
      languageName(one.language),
      `${one.speech_s.toFixed(1)} s, probability ${one.probability.toFixed(2)}`,
    ]);
    const fold = (name, pairs, open = false) =>
      pairs.length ? [make("details", { open }, make("summary", {}, name), list(pairs))] : [];
    byId("beside").append(
      ...(answers.length ? [make("h2", {}, "Answers"), ...answers.map(answer)] : []),
      ...fold("Manifest", columns, true),
      ...fold("Languages", mix.length > 1 ? mix : []),
      ...fold("Recording", of(own)),
      ...fold("Origin", of(origin)),
    );
  };

  /** Draw where is speech, along the same time as the slider. */
  const strip = (start_s, end_s) => {
    const channels = [...new Set(recording.segments.map((segment) => segment.channel))];
    const share = (seconds) => `${(100 * seconds) / (end_s - start_s || 1)}%`;
    const bars = recording.segments.flatMap((segment) => {
      const spans = segment.spans.length ? segment.spans : [[segment.start_s, segment.end_s]];
      return spans.map(([from, to]) => {
        const className = segment.failure_code ? "failed" : segment.flags?.length ? "flagged" : "";
        const bar = make("span", { className });
        Object.assign(bar.style, { left: share(from - start_s), width: share(to - from) });
        bar.style.top = `${(100 * channels.indexOf(segment.channel)) / channels.length}%`;
        bar.style.height = `${100 / channels.length}%`;
        return bar;
      });
    });
    byId("strip").replaceChildren(...bars);
  };

  const count = (stored = true) => {
    const safe = stored || !lines.size ? "" : " (this browser does not keep them: save before you leave)";
    byId("drafts").textContent = lines.size ? `${lines.size} corrected${safe}` : "";
    byId("save").hidden = lines.size === 0;
  };

  const reveal = (element) => {
    const smooth = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
    element.scrollIntoView({ block: "center", behavior: smooth });
  };

  const onTime = (time_s) => {
    const entered = transcript?.follow(time_s);
    const isReading = performance.now() - scrolledAt < 4_000;
    if (entered && byId("follow").checked && !player.audio.paused && !isReading) reveal(entered);
  };

  facts();
  beside();
  byId("keys").append(...KEYS.map(([key, does]) => make("span", {}, make("kbd", {}, key), ` ${does}`)));
  const ends = [
    (recording.range_start_s ?? 0) + (recording.duration_s ?? 0),
    ...recording.segments.map((one) => one.end_s),
  ];
  const player = new Player(recording.audio, Math.max(...ends), onTime, strip);
  transcript = new Transcript(recording, lines, wanted, {
    hear: (time_s) => player.seek(time_s, true),
    changed: () => count(corrections.keep(recording, lines)),
  });
  count();
  const limit = () => Number(byId("doubt").value);
  byId("doubt-label").hidden = !transcript.mark(limit());
  byId("doubt").onchange = () => transcript.mark(limit());

  const toSegment = (at) => {
    const segment = recording.segments[Math.min(Math.max(at, 0), recording.segments.length - 1)];
    if (!segment) return;
    player.seek(segment.start_s);
    reveal(transcript.elements[recording.segments.indexOf(segment)]);
  };

  const toPlace = (direction) => {
    const now_s = player.time_s;
    const places = transcript.places();
    const next =
      direction > 0
        ? places.find(([time_s]) => time_s > now_s + 0.01)
        : places.findLast(([time_s]) => time_s < now_s - 0.01);
    if (!next) return;
    player.seek(next[0]);
    reveal(next[1]);
  };

  const drawn = recording.segments.flatMap((segment, at) => (segment.sample ? [at] : []));
  let reviewed = -1; // of drawn, the one where the reader is

  /** Go to the next segment of the sample, or the one before, in this recording or another. */
  const toReview = (direction) => {
    const at = drawn[reviewed + direction];
    const { previous, next } = recording.review;
    if (at !== undefined) {
      reviewed += direction;
      player.seek(recording.segments[at].start_s);
      reveal(transcript.elements[at]);
    } else if (direction > 0 && next) location.href = `${next}#review=first`;
    else if (direction < 0 && previous) location.href = `${previous}#review=last`;
  };

  const toAddress = (play) => {
    const time_s = Number.parseFloat(hashFields().get("t"));
    if (!Number.isFinite(time_s)) return;
    player.seek(time_s, play);
    const at = transcript.at(time_s);
    if (at >= 0) reveal(transcript.elements[at]);
  };

  const others = () => {
    transcript.refresh();
    count(corrections.kept());
  };
  addEventListener("storage", others);
  addEventListener("pageshow", (event) => event.persisted && others());
  addEventListener("hashchange", () => toAddress(true));
  for (const kind of ["wheel", "touchmove"])
    addEventListener(kind, () => (scrolledAt = performance.now()), { passive: true });
  byId("next-flag").onclick = () => toPlace(1);
  byId("previous-flag").onclick = () => toPlace(-1);
  for (const [id, direction, other] of [
    ["next-review", 1, recording.review.next],
    ["previous-review", -1, recording.review.previous],
  ]) {
    byId(id).hidden = !drawn.length && !other;
    byId(id).onclick = () => toReview(direction);
  }
  byId("save").onclick = () => corrections.save([...lines.values()]);
  byId("transcript").addEventListener("click", (event) => {
    const link = event.target.closest("a.time");
    if (link && link.hash === location.hash) toAddress(true); // no hashchange tells of it
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const now = transcript.at(player.time_s);
    const keys = {
      " ": () => player.toggle(),
      ArrowLeft: () => player.seek(player.time_s - SMALL_S),
      ArrowRight: () => player.seek(player.time_s + SMALL_S),
      ArrowUp: () => toSegment(now - 1),
      ArrowDown: () => toSegment(now + 1),
      n: () => toPlace(1),
      N: () => toPlace(-1),
      r: () => toReview(1),
      R: () => toReview(-1),
      e: () => transcript.edit(Math.max(now, 0)),
    };
    if (!Object.hasOwn(keys, event.key) || (event.key === " " && event.target.matches("button, summary, a"))) return;
    event.preventDefault();
    keys[event.key]();
  });
  const found = transcript.elements.find((_, at) => transcript.finds(at));
  const review = hashFields().get("review");
  if (hashFields().has("t")) toAddress(false);
  else if (review && drawn.length) {
    if (review === "last") reviewed = drawn.length;
    toReview(review === "last" ? -1 : 1);
  }
  else if (found) reveal(found);
})();
