// Folded blocks open where a link leads to them, and all together on demand.
function reveal() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target.scrollIntoView({ block: "center" });
}
addEventListener("hashchange", reveal);
reveal();
for (const button of document.querySelectorAll("[data-open]")) {
  button.addEventListener("click", () => {
    for (const block of document.querySelectorAll(".block")) block.open = button.dataset.open !== "";
  });
}
