/* On a page opened from a folder, a browser lets no script read the pages that a search found. */
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

/* Names and roles that the theme forgets; each line answers one finding of axe-core. */
document.addEventListener("DOMContentLoaded", function () {
  const each = (selector, change) => document.querySelectorAll(selector).forEach(change);
  // A button's name must hold the text it shows.
  each(".search-button-field", (node) => node.setAttribute("aria-label", node.textContent.replace(/\s+/g, " ").trim()));
  each("details.hide summary[aria-label], .cell summary[aria-label]", (node) => node.removeAttribute("aria-label"));
  // Roles that do not fit their element, or that WAI-ARIA has given up.
  each(".citation-list, .citation[role]", (node) => node.removeAttribute("role"));
  // All content belongs to a landmark.
  each(".bd-sidebar-primary:not([role])", function (node) {
    node.setAttribute("role", "complementary");
    node.setAttribute("aria-label", "Sidebar");
  });
});
