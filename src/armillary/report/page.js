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
    addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  });
})();
