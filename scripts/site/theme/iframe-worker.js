// The theme searches in a worker, and browsers let no page that was opened from the disk have one. Here it is a hidden frame
// that loads the same script and is asked in the same way. mkdocs.yml names this file in place of the theme's own, which is
// loaded from the web; "iframe-worker" in its name is how the theme knows that.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.frame = frame.contentWindow;
      this.frame.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.frame.importScripts = (...names) => names.reduce((last, name) => last.then(() => this.load(name)), this.ready);
      this.ready = this.load(url);
    }

    load(url) {
      const script = this.frame.document.createElement("script");
      script.src = url;
      return new Promise((loaded, failed) => {
        script.onload = loaded;
        script.onerror = failed;
        this.frame.document.body.append(script);
      });
    }

    postMessage(data) {
      this.ready.then(() => this.frame.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
