"use strict";
// Sorts a table by the heading that is pressed; what stands in the foot stays there.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headings = Array.from(table.tHead.rows[0].cells);
  const compareText = new Intl.Collator(undefined, { numeric: true }).compare;

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : null;
  };

  const sortBy = (column) => {
    const heading = headings[column];
    const numeric = heading.classList.contains("number");
    // Numbers start with the largest, which is what one looks for.
    const first = numeric ? "descending" : "ascending";
    const second = numeric ? "ascending" : "descending";
    const order = heading.getAttribute("aria-sort") === first ? second : first;
    const sign = order === "ascending" ? 1 : -1;
    const rows = Array.from(body.rows);
    rows.sort((one, other) => {
      if (!numeric) {
        return sign * compareText(one.cells[column].textContent, other.cells[column].textContent);
      }
      const a = valueOf(one, column);
      const b = valueOf(other, column);
      if (a === null || b === null) {
        return (a === null) - (b === null); // what has no number stands last either way
      }
      return sign * (a - b);
    });
    for (const each of headings) {
      each.setAttribute("aria-sort", each === heading ? order : "none");
    }
    body.append(...rows);
  };

  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => sortBy(column));
  });
}
