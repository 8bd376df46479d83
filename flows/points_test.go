package flows

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestPoints(t *testing.T) {
	r := ran(t)
	r.Results[0].Label, r.Results[0].Class = `a b,c=d\`, ""
	var b strings.Builder
	n, err := r.Points(&b)
	if err != nil || n != strings.Count(b.String(), "\n") {
		t.Error(n, err)
	}
	golden(t, filepath.Join("testdata", PointsFile), b.String())
}

func TestPointsOfOverlappingStarts(t *testing.T) {
	r := ran(t)
	r.Results = append(r.Results, r.Results[0])
	if _, err := r.Points(io.Discard); err == nil || !strings.Contains(err.Error(), "its starts overlap") {
		t.Error(err)
	}
}

// influx is a stand-in for InfluxDB: it counts the lines written, and answers queries
// with what answer says.
func influx(t *testing.T, answer func(query string) string) (x Influx, writes *[]int) {
	writes = new([]int)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		switch body, _ := io.ReadAll(q.Body); {
		case q.URL.Path == "/write" && q.FormValue("db") == "trafic" && q.FormValue("precision") == "ns":
			*writes = append(*writes, strings.Count(string(body), "\n"))
			w.WriteHeader(http.StatusNoContent)
		case q.URL.Path == "/query":
			query := strings.TrimPrefix(string(body), "q=")
			fmt.Fprint(w, answer(query))
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":"database not found: \"x\"\u001b"}`)
		}
	}))
	t.Cleanup(s.Close)
	return Influx{URL: s.URL + "/", Database: "trafic", HTTP: s.Client()}, writes
}

func TestInfluxGetsPointsInBatches(t *testing.T) {
	x, writes := influx(t, nil)
	if err := x.Write(context.Background(), strings.NewReader(strings.Repeat("flows,run=a bytes=1i 5\n", 12_001))); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(*writes); got != "[5000 5000 2001]" {
		t.Error(got)
	}
	if err := x.Write(context.Background(), strings.NewReader(strings.Repeat("x", largestLine+1))); err == nil {
		t.Error("a line without end was taken")
	}
}

func TestInfluxIsAsked(t *testing.T) {
	var asked string
	x, _ := influx(t, func(q string) string {
		asked = q
		return `{"results":[{"statement_id":0,"series":[
			{"name":"flows","tags":{"flow":"a"},"columns":["time","sum"],"values":[[0,9007199254740993]]},
			{"name":"flows","tags":{"flow":"b"},"columns":["time","sum"],"values":[[0,2]]}]}]}`
	})
	ctx := context.Background()
	sums, err := x.SumBytes(ctx, `it's`)
	if err != nil || sums["a"] != 9007199254740993 || sums["b"] != 2 || len(sums) != 2 {
		t.Error(sums, err)
	}
	if expected := `SELECT+sum%28%22bytes%22%29+FROM+%22flows%22+WHERE+%22run%22+%3D+%27it%5C%27s%27+GROUP+BY+%22flow%22`; asked != expected {
		t.Errorf("asked %s, expected %s", asked, expected)
	}
	if err := x.Create(ctx); err != nil || asked != "CREATE+DATABASE+%22trafic%22" {
		t.Error(asked, err)
	}
	none, _ := influx(t, func(string) string { return `{"results":[{"statement_id":0}]}` })
	if n, err := none.Count(ctx, "r"); n != 0 || err != nil {
		t.Error(n, err)
	}
}

func TestInfluxThatFails(t *testing.T) {
	for answer, expected := range map[string]string{
		`{"results":[{"error":"retention policy not found"}]}`: "retention policy not found",
		`<html>`: "is not as expected",
		`{}`:     "is this an InfluxDB 1.x?",
		`{"results":[{"series":[{"values":[[0,1],[1,2]]}]}]}`: "not one row",
		`{"results":[{"series":[{"values":[[0,1.5]]}]}]}`:     "not a whole number",
		strings.Repeat(" ", largestAnswer+1):                  "longer than 16 MiB",
	} {
		x, _ := influx(t, func(string) string { return answer })
		if _, err := x.Count(context.Background(), "r"); err == nil || !strings.Contains(err.Error(), expected) {
			t.Errorf("%.60s: %v, expected %q", answer, err, expected)
		}
	}
	x, _ := influx(t, nil)
	x.Database = "x"
	if err := x.Write(context.Background(), strings.NewReader("a\n")); err == nil || !strings.HasSuffix(err.Error(), `404 Not Found: database not found: "x"`) {
		t.Error(err)
	}
	gone := Influx{URL: "http://127.0.0.1:1", Database: "trafic"}
	if err := gone.Create(context.Background()); err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "CREATE") {
		t.Error(err)
	}
}
