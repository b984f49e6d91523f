// Keeps the theme, and the requested view, to which the response to the form leads back.
"use strict";

try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the system decides.
}

document.addEventListener("DOMContentLoaded", () => {
  const form = document.getElementById("sign-in");
  const keep = () => form.setAttribute("action", "/sign-in" + location.hash);
  keep();
  addEventListener("hashchange", keep);
});
