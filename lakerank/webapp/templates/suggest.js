// Suggestions while typing, and `/` for the box. Without this file everything else works as it does with it.
"use strict";
(() => {
  const box = document.getElementById("q");
  const list = document.getElementById("suggestions");
  if (!box || !list) return;
  let asked = 0; // number of the latest question: answers to earlier ones come too late
  let chosen = -1;
  let typed = box.value;
  let waiting;
  box.setAttribute("role", "combobox");
  box.setAttribute("aria-autocomplete", "list");
  box.setAttribute("aria-controls", "suggestions");
  box.setAttribute("aria-expanded", "false");

  const close = () => {
    list.hidden = true;
    chosen = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  };
  const choose = (number) => {
    const options = list.children;
    if (chosen >= 0) options[chosen].setAttribute("aria-selected", "false");
    chosen = number;
    box.value = number < 0 ? typed : options[number].textContent;
    if (number < 0) return box.removeAttribute("aria-activedescendant");
    options[number].setAttribute("aria-selected", "true");
    box.setAttribute("aria-activedescendant", options[number].id);
  };
  const show = (texts) => {
    list.replaceChildren(...texts.map((text, number) => {
      const option = document.createElement("li");
      option.id = `suggestion-${number}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.dir = "auto";
      option.textContent = text;
      return option;
    }));
    chosen = -1;
    list.hidden = texts.length === 0;
    box.setAttribute("aria-expanded", String(texts.length > 0));
  };
  const ask = async () => {
    const own = ++asked;
    typed = box.value;
    if (!typed.trim()) return close();
    try {
      const answer = await fetch(`/suggest?q=${encodeURIComponent(typed)}`);
      const [, texts] = await answer.json();
      if (own === asked && document.activeElement === box) show(texts);
    } catch {
      close(); // the search itself needs no suggestions
    }
  };
  const forget = () => { // an answer that comes now would take the place of what was chosen or closed
    asked++;
    clearTimeout(waiting);
  };
  box.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, 60);
  });
  box.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const size = list.hidden ? 0 : list.children.length;
    if (event.key === "Escape" && size) {
      event.preventDefault(); // which would empty the box
      forget();
      choose(-1);
      close();
    } else if (size && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      forget();
      const step = event.key === "ArrowDown" ? 1 : -1;
      choose(((chosen + 1 + step + size + 1) % (size + 1)) - 1);
    }
  });
  box.addEventListener("blur", () => { forget(); close(); });
  list.addEventListener("mousedown", (event) => event.preventDefault()); // the box keeps the focus
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (!option) return;
    box.value = option.textContent;
    box.form.requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    const where = event.target;
    const types = where.isContentEditable || /^(input|textarea|select)$/i.test(where.tagName);
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || types) return;
    event.preventDefault();
    box.focus();
    box.select();
  });
})();
