// Light or dark: the reader's system decides, the button overrules it, and the choice is kept where the browser allows.
(() => {
  const root = document.documentElement;
  const kept = () => { try { return localStorage.getItem("armillary-theme"); } catch { return null; } };
  const keep = (theme) => { try { localStorage.setItem("armillary-theme", theme); } catch { /* a file may not */ } };
  const asked = location.hash === "#dark" || location.hash === "#light" ? location.hash.slice(1) : kept();
  if (asked === "dark" || asked === "light") root.dataset.theme = asked;
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      keep(root.dataset.theme);
    });
    document.querySelectorAll(".pairs-of-answers").forEach(sortable);
    addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  });
  // Pairs of answers: sorted by what a button names (words rising, numbers falling), the first ones shown until all are asked for.
  const sortable = (figure) => {
    const rows = figure.querySelector(".rows"), sort = figure.querySelector(".sort"), more = figure.querySelector(".more");
    const pairs = [...rows.children];
    const cut = () => pairs.forEach((pair) => { pair.hidden = !!more && !more.hidden && pair.dataset.place >= +more.dataset.first; });
    const order = (key) => {
      const value = (pair) => (key === "" ? pair.dataset.order : pair.dataset.values.split("\n")[+key]);
      const words = key !== "" && pairs.some((pair) => value(pair) !== "" && isNaN(value(pair)));
      pairs.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        const apart = key === "" ? 0 : words ? x.localeCompare(y) : (y === "" ? -Infinity : +y) - (x === "" ? -Infinity : +x);
        return apart || a.dataset.order - b.dataset.order;
      });
      pairs.forEach((pair, place) => { pair.dataset.place = place; rows.append(pair); });
      cut();
    };
    if (more) {
      more.hidden = false;
      more.addEventListener("click", () => { more.hidden = true; cut(); });
    }
    if (sort) {
      sort.hidden = false;
      sort.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
        sort.querySelectorAll("button").forEach((other) => other.setAttribute("aria-pressed", other === button));
        order(button.dataset.key);
      }));
    }
    order("");
    addEventListener("beforeprint", () => pairs.forEach((pair) => { pair.hidden = false; }));
  };
})();
