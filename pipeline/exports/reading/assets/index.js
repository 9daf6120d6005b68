"use strict";
// The list of all recordings: what is looked for is in the address, so that it can be kept and sent.

(async () => {
  const PAGE_ROWS = 100;
  const SNIPPET_CHARS = 180;
  const SNIPPETS_AT_ONCE = 8;
  const FIELDS = ["query", "language", "outcome", "flag", "speaker", "min-minutes", "max-minutes", "from", "to"];
  const state = { sort: "name", descending: false, page: 1, rows: [], wanted: [] };
  let about;
  let catalogue;
  let searches = 0; // an earlier one that is still at work shows nothing any more
  let change = 0; // nor is shown what is still being loaded for rows that have gone

  const fill = (id, options) => {
    for (const [value, count, name] of options) {
      byId(id).append(make("option", { value }, `${name} (${count.toLocaleString("en")})`));
    }
  };

  const options = () => {
    const words = (text) => text.replaceAll("_", " ");
    const split = (separator) => (value) => value.split(separator).filter(Boolean);
    fill(
      "language",
      catalogue.counts("language").map(([code, count]) => [code, count, languageName(code)]),
    );
    const outcomes = catalogue.counts("outcome", (value) => [...new Set([value.split(":")[0], value])]);
    fill(
      "outcome",
      outcomes.map(([outcome, count]) => [outcome, count, words(outcome)]),
    );
    const flags = catalogue.counts("flags", split(" "));
    fill(
      "flag",
      flags.map(([flag, count]) => [flag, count, words(flag)]),
    );
    const speakers = catalogue.counts("speakers", split("\n"));
    fill(
      "speaker",
      speakers.map(([speaker, count]) => [speaker, count, speaker]),
    );
    byId("speaker-label").hidden = speakers.length === 0;
    byId("review-label").hidden = !about.sample;
  };

  const readAddress = () => {
    const fields = hashFields();
    for (const id of FIELDS) byId(id).value = fields.get(id) ?? "";
    byId("review").value = about.sample && fields.get("review") !== "all" ? "drawn" : "all";
    state.sort =
      ["name", "duration", "language", "outcome", "date"].find((key) => key === fields.get("sort")) ?? "name";
    state.descending = fields.get("order") === "down";
    state.page = Math.max(1, Number.parseInt(fields.get("page"), 10) || 1);
  };

  const writeAddress = () => {
    const fields = new URLSearchParams();
    for (const id of FIELDS) if (byId(id).value) fields.set(id, byId(id).value);
    if (about.sample && byId("review").value === "all") fields.set("review", "all");
    if (state.sort !== "name") fields.set("sort", state.sort);
    if (state.descending) fields.set("order", "down");
    if (state.page > 1) fields.set("page", state.page);
    history.replaceState(null, "", `#${fields}`);
    try {
      sessionStorage.setItem("index", `#${fields}`); // for the way back from a recording
    } catch {
      // the way back leads to all recordings
    }
  };

  const number = (id, otherwise) => (byId(id).value === "" ? otherwise : Number(byId(id).value));

  const select = async () => {
    const own = (searches += 1);
    const query = byId("query").value;
    state.wanted = search.terms(query, true);
    if (state.wanted.length) byId("status").textContent = "Searching…";
    const { rows: hits, whole } = await search.find(query, about);
    if (own !== searches) return;
    const [language, outcome, flag, speaker, from, to] = ["language", "outcome", "flag", "speaker", "from", "to"].map(
      (id) => byId(id).value,
    );
    const tests = {};
    if (language) tests.language = (value) => value === language;
    if (outcome) tests.outcome = (value) => value === outcome || value.startsWith(`${outcome}:`);
    if (flag) tests.flags = (value) => value.split(" ").includes(flag);
    if (speaker) tests.speakers = (value) => value.split("\n").includes(speaker);
    if (byId("review").value === "drawn") tests.review = Boolean;
    if (from || to) tests.date = (value) => value >= from && (!to || value <= to);
    const seconds = [60 * number("min-minutes", 0), 60 * number("max-minutes", Infinity)];
    state.rows = catalogue.filtered(tests, ...seconds, hits);
    catalogue.sort(state.rows, state.sort, state.descending);
    const all = state.rows.length === catalogue.count;
    const count = state.rows.length.toLocaleString("en");
    const of = all ? "recordings" : `of ${catalogue.count.toLocaleString("en")} recordings`;
    const cut = whole ? "" : " – more words begin like this than a search looks at: type more letters";
    byId("status").textContent = `${count} ${of}${cut}`;
    show();
  };

  /** The part of a text around what is looked for, else its beginning, with marks. */
  const snippet = (text, wanted) => {
    const found = wanted.length ? search.places(text.slice(0, 200_000), wanted) : [];
    const first = found[0]?.[0] ?? 0;
    let start = first > SNIPPET_CHARS / 2 ? first - SNIPPET_CHARS / 3 : 0;
    if (start) start = Math.max(text.lastIndexOf(" ", start) + 1, start - 30);
    start = Math.floor(start);
    const end = start + SNIPPET_CHARS;
    const pieces = [start ? "… " : ""];
    let at = start;
    for (const [from, to] of found) {
      if (from < at || to > end) continue;
      pieces.push(text.slice(at, from), make("mark", {}, text.slice(from, to)));
      at = to;
    }
    pieces.push(text.slice(at, end), text.length > end ? " …" : "");
    return pieces;
  };

  const line = (row) => {
    const title = catalogue.title(row);
    const language = catalogue.value("language", row);
    const flags = catalogue.value("flags", row).split(" ").filter(Boolean);
    const query = byId("query").value;
    const fields = new URLSearchParams(query ? { q: query } : {});
    if (byId("review").value === "drawn") fields.set("review", "first");
    const address = catalogue.page(row) + (fields.size ? `#${fields}` : "");
    const drawn = catalogue.value("review", row);
    const text = make("p", { className: "snippet", dir: "auto", lang: languageTag(language), data: { row } });
    return make(
      "tr",
      {},
      make(
        "th",
        { scope: "row" },
        make("a", { href: address, dir: "auto" }, title),
        make(
          "span",
          { className: "chips" },
          ...flags.map(flagChip),
          drawn && make("span", { className: "chip review" }, `${drawn} to review`),
        ),
        text,
      ),
      make("td", { className: "number" }, clock(catalogue.seconds(row))),
      make("td", {}, language ? languageName(language) : "–"),
      make("td", {}, outcomeChip(catalogue.value("outcome", row))),
      make("td", { className: "date" }, catalogue.value("date", row)),
    );
  };

  /** Show the beginnings of the texts, or where they have what is looked for, file by file. */
  const snippets = async () => {
    const own = change;
    const byFile = new Map();
    for (const element of byId("rows").querySelectorAll(".snippet")) {
      const row = Number(element.dataset.row);
      let file = about.texts.length - 1;
      while (about.texts[file] > row) file -= 1;
      if (!byFile.has(file)) byFile.set(file, []);
      byFile.get(file).push([element, row - about.texts[file]]);
    }
    const files = [...byFile];
    const work = async () => {
      for (let next = files.shift(); next && own === change; next = files.shift()) {
        const texts = await shards.load("texts", next[0]);
        for (const [element, at] of next[1]) element.replaceChildren(...snippet(texts[at] ?? "", state.wanted));
      }
    };
    await Promise.all(Array.from({ length: SNIPPETS_AT_ONCE }, work));
  };

  const show = () => {
    change += 1;
    const pages = Math.max(1, Math.ceil(state.rows.length / PAGE_ROWS));
    state.page = Math.min(state.page, pages);
    const from = (state.page - 1) * PAGE_ROWS;
    byId("rows").replaceChildren(...state.rows.slice(from, from + PAGE_ROWS).map(line));
    byId("list").hidden = state.rows.length === 0;
    byId("pages").hidden = pages === 1;
    byId("page").value = state.page;
    byId("page").max = pages;
    byId("page-count").textContent = `of ${pages.toLocaleString("en")}`;
    for (const id of ["first", "previous"]) byId(id).disabled = state.page === 1;
    for (const id of ["next", "last"]) byId(id).disabled = state.page === pages;
    for (const head of document.querySelectorAll("th[data-sort]")) {
      const sorted = state.descending ? "descending" : "ascending";
      head.setAttribute("aria-sort", head.dataset.sort === state.sort ? sorted : "none");
    }
    writeAddress();
    snippets().catch(failed);
  };

  const failed = (error) => {
    byId("status").textContent = `The index cannot be read: ${error.message}. Export it again.`;
  };

  const turn = (page) => {
    state.page = page;
    show();
    byId("list").scrollIntoView({ block: "nearest" });
  };

  const drafts = () => {
    const lines = corrections.all();
    if (about.sample) {
      const done = lines.filter((one) => one.sample?.sample_id === about.sample.sample_id).length;
      byId("reviewed").textContent =
        `${done.toLocaleString("en")} of ${about.sample.drawn.toLocaleString("en")} segments reviewed`;
    }
    byId("save").hidden = lines.length === 0;
    byId("save").textContent = `Save all corrections (${lines.length})`;
  };

  const listen = () => {
    let timer;
    const again = (delay_ms) => {
      clearTimeout(timer);
      state.page = 1;
      timer = setTimeout(() => select().catch(failed), delay_ms);
    };
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("filters").addEventListener("input", () => again(150));
    byId("filters").addEventListener("reset", () => again(0));
    byId("first").onclick = () => turn(1);
    byId("previous").onclick = () => turn(state.page - 1);
    byId("next").onclick = () => turn(state.page + 1);
    byId("last").onclick = () => turn(Number(byId("page").max));
    byId("page").onchange = () => turn(Math.max(1, Number(byId("page").value) || 1));
    for (const head of document.querySelectorAll("th[data-sort]")) {
      head.querySelector("button").onclick = () => {
        const key = head.dataset.sort;
        state.descending = state.sort === key ? !state.descending : key === "duration" || key === "date";
        state.sort = key;
        again(0);
      };
    }
    addEventListener("hashchange", () => {
      readAddress();
      select().catch(failed);
    });
    document.addEventListener("keydown", (event) => {
      const links = [...byId("rows").querySelectorAll("a")];
      const at = links.indexOf(document.activeElement);
      const inField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
      if (event.key === "/" && !inField) byId("query").focus();
      else if (event.key === "ArrowDown" && (!inField || event.target.id === "query")) links[at + 1]?.focus();
      else if (event.key === "ArrowUp" && at >= 0) (links[at - 1] ?? byId("query")).focus();
      else return;
      event.preventDefault();
    });
    drafts();
    addEventListener("storage", drafts);
    addEventListener("pageshow", drafts); // where the browser goes back, it may show this page as it was
    byId("save").onclick = () => corrections.save(corrections.all());
  };

  try {
    about = await shards.loadAbout();
    byId("made").textContent = `Exported ${about.made_at.slice(0, 16).replace("T", " ")} UTC`;
    catalogue = new Catalogue(about.rows);
    const files = Array.from({ length: Math.ceil(about.rows / about.rows_per_file) }, (_, at) => at);
    await Promise.all(files.map(async (at) => catalogue.add(at * about.rows_per_file, await shards.load("rows", at))));
    options();
    readAddress();
    listen();
    await select();
  } catch (error) {
    failed(error);
  }
})();
