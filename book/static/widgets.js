/* The only script that a page with saved widget state loads. It brings require.js and the widget manager from this
   site: late, because require.js would capture the theme's own scripts. */
(function () {
  const base = new URL("vendor/widgets/", document.currentScript.src).href;

  function load(name, attributes) {
    return new Promise((resolve, reject) => {
      const script = Object.assign(document.createElement("script"), { src: base + name, onload: resolve, onerror: reject });
      for (const key in attributes) script.setAttribute(key, attributes[key]);
      document.head.append(script);
    });
  }

  async function start() {
    if (window.MathJax) {
      if (MathJax.startup && MathJax.startup.promise) await MathJax.startup.promise;
      // The manager speaks MathJax 2; the page has MathJax 3.
      MathJax.Hub = MathJax.Hub || { Queue: (job) => MathJax.typesetPromise && MathJax.typesetPromise([job[2]]) };
    }
    await load("require.min.js");
    require.config({ baseUrl: base });
    await load("embed-amd.js", { "data-jupyter-widgets-cdn": base });
  }
  window.addEventListener("load", start);
})();
