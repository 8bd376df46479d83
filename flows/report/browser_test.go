//go:build e2e

package report

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/png" // screenshots
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/mami-project/labctl/flows"
)

// TestBrowser opens reports as people do, in Chromium, which has no network.
func TestBrowser(t *testing.T) {
	other := sample("demo-20261124T211500Z", 12, 60, 0.2, 9)
	other.Manifest.Versions["client/iperf3"] = "3.18"
	pages := map[string][]flows.Run{
		"one":     {sample("demo-20261124T201500Z", 12, 60, 0.2, 1)},
		"broken":  {broken("demo-20261124T203000Z")},
		"several": {sample("demo-20261124T201500Z", 12, 60, 0.2, 1), other},
		"large":   {sample("demo-20261124T220000Z", 100, 600, 0.2, 1)},
		"nothing": {{Manifest: flows.Manifest{ID: "demo-20261124T230000Z", State: flows.Running}}},
	}
	script, err := filepath.Abs("testdata/chromium")
	if err != nil {
		t.Fatal(err)
	}
	temporary := filepath.Join(os.TempDir(), "org.chromium.*")
	before, _ := filepath.Glob(temporary)
	t.Cleanup(func() { // once it is stopped
		if after, _ := filepath.Glob(temporary); len(after) > len(before) {
			t.Errorf("the browser left some of %s", after)
		}
	})
	alone, stop := chromedp.NewExecAllocator(t.Context(), append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(script))...)
	t.Cleanup(stop)
	browser, stop := chromedp.NewContext(alone)
	t.Cleanup(stop)
	if err := chromedp.Do(browser); err != nil {
		t.Fatal(err)
	}
	for name, runs := range pages {
		t.Run(name, func(t *testing.T) { open(browser, t, name, runs) })
	}
}

// looks are how a page is looked at.
var looks = []struct {
	name, scheme string
	width        int64
}{{"light", "light", 1280}, {"dark", "dark", 1280}, {"phone", "dark", 360}, {"narrow", "light", 320}}

func open(browser context.Context, t *testing.T, name string, runs []flows.Run) {
	var out bytes.Buffer
	if err := Write(&out, runs); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	tab, stop := chromedp.NewContext(browser)
	defer stop()
	tab, cancel := context.WithTimeout(tab, 8*time.Minute)
	defer cancel()
	heard := listen(tab, t)
	must(t, chromedp.Do(tab, chromedp.Navigate("file://"+file)))
	backs := map[string]string{}
	for _, look := range looks {
		send(tab, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}}})
		must(t, chromedp.Do(tab, chromedp.EmulateViewport(look.width, 900)))
		isShown := fmt.Sprintf(`innerWidth === %d && matchMedia('(prefers-color-scheme: %s)').matches`, look.width, look.scheme)
		for !ask[bool](tab, t, isShown) { // the page hears of both by and by
			time.Sleep(20 * time.Millisecond)
		}
		for _, wrong := range ask[[]string](tab, t, inspect) {
			t.Errorf("%s: %s", look.name, wrong)
		}
		backs[look.scheme] = ask[string](tab, t, `getComputedStyle(document.body).backgroundColor`)
		shot, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
		must(t, err)
		drawn(t, look.name, shot, int(look.width))
		if dir := os.Getenv("LABCTL_TEST_SHOTS"); dir != "" { // for people to look at
			shot, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, name+"-"+look.name+".png"), shot, 0o644))
		}
	}
	if backs["light"] == backs["dark"] {
		t.Errorf("light and dark have the same background %s", backs["light"])
	}
	if got, want := ask[int](tab, t, `document.querySelectorAll('details.flow svg.plot').length`), plots(runs); got != want {
		t.Errorf("%d plots of flows, want %d", got, want)
	}
	choose(tab, t)
	heard(file)
}

// inspect are what is wrong with a page as it is shown: what has no size, what is
// wider than the page, texts of plots that stand out of them, names that are not there.
const inspect = `(() => {
	const wrong = [], page = document.documentElement;
	if (page.scrollWidth > page.clientWidth) wrong.push('the page is ' + page.scrollWidth + ' wide in a window of ' + page.clientWidth);
	for (const id of ['classes', 'flows', 'mirror', 'clocks', 'influxdb', 'lab', 'provenance']) {
		const r = document.getElementById(id)?.getBoundingClientRect();
		if (!r || r.width < 200 || r.height < 40) wrong.push(id + ' is not to be seen');
	}
	for (const e of document.querySelectorAll('a[href^="#"]'))
		if (!document.querySelector(e.getAttribute('href'))) wrong.push(e.getAttribute('href') + ' leads nowhere');
	const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
	if (new Set(ids).size !== ids.length) wrong.push('an id is there twice');
	for (const s of document.querySelectorAll('svg[role=img]')) {
		for (const id of s.getAttribute('aria-labelledby').split(' '))
			if (!document.getElementById(id)?.textContent) wrong.push('a drawing has no ' + id);
		if (!s.checkVisibility() || s.closest('details:not([open])')) continue;
		const all = s.getBoundingClientRect();
		if (all.width < 200 || all.height < 80) wrong.push(s.textContent.slice(0, 40) + ': ' + all.width + '×' + all.height);
		for (const x of s.querySelectorAll('text')) {
			const r = x.getBoundingClientRect();
			if (r.width && (r.left < all.left - 1 || r.right > all.right + 1 || r.top < all.top - 1 || r.bottom > all.bottom + 1))
				wrong.push('in ' + s.querySelector('title').textContent + ', this stands out: ' + x.textContent);
		}
	}
	for (const e of document.querySelectorAll('h1, h2, h3, p, summary, .headline, .tiles div')) {
		const r = e.getBoundingClientRect();
		if (r.width && r.right > page.clientWidth + 1) wrong.push('cut off: ' + e.textContent.trim().slice(0, 40));
	}
	return wrong;
})()`

// choose types a flow's name as one does.
func choose(tab context.Context, t *testing.T) {
	t.Helper()
	flowCount := ask[int](tab, t, `document.querySelectorAll('details.flow').length`)
	if flowCount == 0 {
		return
	}
	must(t, chromedp.Do(tab, chromedp.Focus("#choose-text"), chromedp.KeyEvent("web-00")))
	if n := ask[int](tab, t, `[...document.querySelectorAll('details.flow')].filter(e => e.checkVisibility()).length`); n != 1 {
		t.Errorf("%d flows are shown where web-00 was asked for, of %d", n, flowCount)
	}
	must(t, chromedp.Do(tab, chromedp.Click("#open-all")))
	if r := ask[float64](tab, t, `document.querySelector('details.flow[data-name="web-00"] svg.plot').getBoundingClientRect().height`); r < 80 {
		t.Errorf("the plot of the chosen flow is %v high", r)
	}
}

// plots is how many plots the flows of runs have.
func plots(runs []flows.Run) (n int) {
	for _, g := range groups(runs, byLabel) {
		for _, m := range metrics {
			if g.has(m) {
				n++
			}
		}
	}
	return n
}

// listen hears what the page says and asks for, and judges it in the end.
func listen(tab context.Context, t *testing.T) func(file string) {
	t.Helper()
	var lock sync.Mutex
	var asked, said []string
	must(t, chromedp.Listen(tab, func(event any) {
		lock.Lock()
		defer lock.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			asked = append(asked, e.Request.URL)
		case *runtime.EventConsoleAPICalled:
			said = append(said, "console: "+string(e.Type))
		case *runtime.EventExceptionThrown:
			said = append(said, e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			said = append(said, e.Entry.Text)
		}
	}))
	send(tab, t, network.Enable, network.EnableParams{})
	return func(file string) {
		lock.Lock()
		defer lock.Unlock()
		if len(asked) != 1 || asked[0] != "file://"+file {
			t.Errorf("asked for %q, want the file alone", asked)
		}
		if len(said) > 0 {
			t.Errorf("in the console: %q", said)
		}
	}
}

// drawn looks that a screenshot is as wide as the window, and not one colour.
func drawn(t *testing.T, look string, shot []byte, width int) {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(shot))
	must(t, err)
	b := img.Bounds()
	seen := map[[4]uint32]bool{}
	for y := b.Min.Y; y < b.Max.Y; y += 7 {
		for x := b.Min.X; x < b.Max.X; x += 7 {
			r, g, b, a := img.At(x, y).RGBA()
			seen[[4]uint32{r, g, b, a}] = true
		}
	}
	if b.Dx() != width || b.Dy() < 600 || len(seen) < 20 {
		t.Errorf("%s: a screenshot of %d×%d with %d colours", look, b.Dx(), b.Dy(), len(seen))
	}
}

func ask[T any](tab context.Context, t *testing.T, script string) T {
	t.Helper()
	v, err := chromedp.Run(tab, chromedp.Evaluate[T](script))
	must(t, err)
	return v
}

// send gives the tab a command.
func send[P, R any](tab context.Context, t *testing.T, command cdp.Command[P, R], params P) {
	t.Helper()
	_, err := chromedp.Call(tab, command, params)
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
