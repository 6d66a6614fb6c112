// Before the first paint: the choice of this browser, else that of its system.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("keepwarm-theme");
  } catch {
    /* storage is forbidden: the system decides */
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
