"use strict";
// All rows of the index in memory, as columns: a hundred thousand take about 10 MB.

class Catalogue {
  static LISTS = ["folder", "date", "language", "outcome", "flags", "speakers", "review"];

  constructor(count) {
    this.count = count;
    this.names = new Array(count);
    this.pages = new Map(); // of the rows whose page has not the usual path
    this.tenths = new Int32Array(count).fill(-1); // of a second; -1 where no duration is known
    this.lists = {};
    for (const name of Catalogue.LISTS) {
      this.lists[name] = { values: [], numbers: new Map(), rows: new Uint32Array(count) };
    }
  }

  /** Take in a file of rows; `first` is the number of its first one. */
  add(first, file) {
    file.name.forEach((name, at) => (this.names[first + at] = name));
    file.duration.forEach((tenths, at) => (this.tenths[first + at] = tenths ?? -1));
    for (const [at, page] of file.pages) this.pages.set(first + at, page);
    for (const name of Catalogue.LISTS) {
      const list = this.lists[name];
      const own = file[name].values.map((value) => {
        if (!list.numbers.has(value)) list.numbers.set(value, list.values.push(value) - 1);
        return list.numbers.get(value);
      });
      const rows = file[name].rows;
      if (rows[0] !== -1) rows.forEach((number, at) => (list.rows[first + at] = own[number]));
      else {
        let at = first;
        for (let pair = 1; pair < rows.length; pair += 2) {
          list.rows.fill(own[rows[pair]], at, at + rows[pair + 1]);
          at += rows[pair + 1];
        }
      }
    }
  }

  value(name, row) {
    const list = this.lists[name];
    return list.values[list.rows[row]];
  }

  seconds(row) {
    return this.tenths[row] < 0 ? null : this.tenths[row] / 10;
  }

  title(row) {
    const folder = this.value("folder", row);
    return folder ? `${folder}/${this.names[row]}` : this.names[row];
  }

  /** The address of a row's page. The rule for the usual path is that of `usual_page` in reading/index.py. */
  page(row) {
    const name = this.names[row];
    const dot = name.lastIndexOf(".");
    const folder = this.value("folder", row);
    const usual = `recordings/${folder}${folder && "/"}${dot > 0 ? name.slice(0, dot) : name}.html`;
    return (this.pages.get(row) ?? usual).split("/").map(encodeURIComponent).join("/");
  }

  /** How many rows have each value of a list, the most frequent first; of values that are several, `split` them. */
  counts(name, split = (value) => [value]) {
    const list = this.lists[name];
    const numbers = new Uint32Array(list.values.length);
    for (const number of list.rows) numbers[number] += 1;
    const found = new Map();
    list.values.forEach((value, number) => {
      for (const one of split(value)) found.set(one, (found.get(one) ?? 0) + numbers[number]);
    });
    return [...found].filter(([value]) => value).sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  }

  /** The rows for which each test of a list's values holds, with a length within [least_s, most_s], and a bit in `hits`
   * where there are any. */
  filtered(tests, least_s, most_s, hits) {
    const wanted = Object.entries(tests).map(([name, test]) => {
      const { values, rows } = this.lists[name];
      return { passes: Uint8Array.from(values, (value) => (test(value) ? 1 : 0)), rows };
    });
    const found = [];
    const bounded = least_s > 0 || most_s < Infinity;
    for (let row = 0; row < this.count; row += 1) {
      if (hits && !hits[row]) continue;
      if (bounded && !(this.tenths[row] >= least_s * 10 && this.tenths[row] <= most_s * 10)) continue;
      if (wanted.every(({ passes, rows }) => passes[rows[row]])) found.push(row);
    }
    return found;
  }

  /** Sort rows in place by "name", "duration" or a list; equal ones by name. */
  sort(rows, key, descending) {
    const ranks = this.#ranks(key);
    const names = this.#ranks("name");
    const sign = descending ? -1 : 1;
    rows.sort((a, b) => sign * (ranks[a] - ranks[b]) || names[a] - names[b]);
  }

  #known = {};

  #ranks(key) {
    if (key === "duration") return this.tenths;
    this.#known[key] ??= key === "name" ? this.#nameRanks() : this.#listRanks(key);
    return this.#known[key];
  }

  #nameRanks() {
    const titles = Array.from({ length: this.count }, (_, row) => this.title(row).toLowerCase());
    const order = Array.from(titles.keys()).sort((a, b) =>
      titles[a] < titles[b] ? -1 : titles[a] > titles[b] ? 1 : a - b,
    );
    const ranks = new Uint32Array(this.count);
    order.forEach((row, rank) => (ranks[row] = rank));
    return ranks;
  }

  #listRanks(name) {
    const { values, rows } = this.lists[name];
    const ranks = new Uint32Array(values.length);
    [...values.keys()]
      .sort((a, b) => (values[a] < values[b] ? -1 : 1))
      .forEach((number, rank) => (ranks[number] = rank));
    return Uint32Array.from(rows, (number) => ranks[number]);
  }
}
