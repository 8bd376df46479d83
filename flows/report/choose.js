// Flows are chosen by name and class; without this, all are there.
(function () {
  'use strict';
  var box = document.getElementById('choose');
  if (!box) return;
  var flows = Array.from(document.querySelectorAll('details.flow'));
  var text = document.getElementById('choose-text');
  var kind = document.getElementById('choose-class');
  var shown = document.getElementById('choose-shown');
  function choose() {
    var want = text.value.toLowerCase(), n = 0;
    flows.forEach(function (f) {
      var fits = f.dataset.name.toLowerCase().includes(want) && (kind.value === '' || f.dataset.class === kind.value);
      f.hidden = !fits;
      if (fits) n++;
    });
    shown.textContent = n + ' of ' + flows.length + ' flows';
  }
  function all(open) {
    return function () { flows.forEach(function (f) { if (!f.hidden) f.open = open; }); };
  }
  text.addEventListener('input', choose);
  kind.addEventListener('change', choose);
  document.getElementById('open-all').addEventListener('click', all(true));
  document.getElementById('close-all').addEventListener('click', all(false));
  box.hidden = false;
  choose();
})();
