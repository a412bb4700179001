// Dark or light before the first paint: what was chosen in this browser, else what the system prefers.
// A plain script in <head>, so that no page is seen in the wrong colours.
{
  const chosen = () => {
    try {
      return localStorage.getItem("pynelive.theme");
    } catch {
      return null; // storage is forbidden in this browser: the system's choice holds
    }
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = () => {
    document.documentElement.dataset.theme = chosen() ?? (system.matches ? "dark" : "light");
    dispatchEvent(new Event("theme"));
  };
  system.addEventListener("change", show);
  addEventListener("storage", show);
  show();
}
