/* Makes each tree when it is first seen, and lets code be copied. */

function mount(box) {
  const data = document.getElementById(box.dataset.trees);
  box.removeAttribute("data-trees");
  explorer(box, modelOf(JSON.parse(data.textContent)));
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    mount(entry.target);
  }
}, { rootMargin: "300px" });

for (const box of document.querySelectorAll("[data-trees]")) {
  box.replaceChildren();
  seen.observe(box);
}

for (const button of document.querySelectorAll("button[data-copies]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it by hand";
    }
    setTimeout(() => { button.textContent = words; }, 2000);
  });
}
