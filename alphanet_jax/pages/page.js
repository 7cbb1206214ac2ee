(function () {
  var root = document.documentElement, key = "alphanet-theme", kept = null;
  try { kept = localStorage.getItem(key); } catch (error) {}
  var asked = location.hash.slice(1);
  var theme = /^(light|dark)$/.test(asked) ? asked : kept;
  if (theme) root.dataset.theme = theme;
  document.getElementById("theme").addEventListener("click", function () {
    var dark = matchMedia("(prefers-color-scheme: dark)").matches;
    var now = root.dataset.theme || (dark ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    try { localStorage.setItem(key, root.dataset.theme); } catch (error) {}
  });
})();
