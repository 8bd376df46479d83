package flows

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Influx is a database of an InfluxDB 1.x, which makes no use of passwords.
type Influx struct {
	URL      string // such as http://192.0.2.1:8086
	Database string
	HTTP     *http.Client // nil is http.DefaultClient
}

const (
	pointsInWrite = 5_000    // as InfluxDB advises
	largestLine   = 64 << 10 // bytes of a point
	largestAnswer = 16 << 20 // bytes
)

// Create makes the database; one that is there stays as it is.
func (x Influx) Create(ctx context.Context) error {
	_, err := x.query(ctx, "CREATE DATABASE "+escape(x.Database, '"'))
	return err
}

// Write stores points in line protocol. Those that are there already are not doubled:
// after an error all can be written again.
func (x Influx) Write(ctx context.Context, points io.Reader) error {
	lines := bufio.NewReaderSize(points, largestLine)
	var batch bytes.Buffer
	for n := 0; ; {
		line, err := lines.ReadSlice('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("reading points: %w", err)
		}
		batch.Write(line)
		if n++; n == pointsInWrite || err == io.EOF {
			if err := x.store(ctx, &batch); err != nil {
				return err
			}
			n = 0
			batch.Reset()
		}
		if err == io.EOF {
			return nil
		}
	}
}

func (x Influx) store(ctx context.Context, batch *bytes.Buffer) error {
	if batch.Len() == 0 {
		return nil
	}
	_, err := x.post(ctx, "/write", url.Values{"db": {x.Database}, "precision": {"ns"}}, "text/plain; charset=utf-8", batch)
	return err
}

// Count is how many points of a run are in the database.
func (x Influx) Count(ctx context.Context, run string) (int, error) {
	var n int64
	groups, err := x.query(ctx, fmt.Sprintf(`SELECT count("bytes") FROM %q WHERE "run" = %s`, Measurement, escape(run, '\'')))
	for _, g := range groups {
		n += g.value
	}
	return int(n), err
}

// SumBytes is how many bytes a run's points in the database have, by flow.
func (x Influx) SumBytes(ctx context.Context, run string) (map[string]int64, error) {
	groups, err := x.query(ctx, fmt.Sprintf(`SELECT sum("bytes") FROM %q WHERE "run" = %s GROUP BY "flow"`, Measurement, escape(run, '\'')))
	if err != nil {
		return nil, err
	}
	sums := make(map[string]int64, len(groups))
	for _, g := range groups {
		sums[g.flow] += g.value
	}
	return sums, nil
}

// escape is a name or a text as InfluxDB's query language has it.
func escape(s string, with byte) string {
	q := string(with)
	return q + strings.NewReplacer(`\`, `\\`, q, `\`+q, "\n", `\n`).Replace(s) + q
}

// group is one series of a query's answer that has one row of the columns time and value.
type group struct {
	flow  string
	value int64
}

func (x Influx) query(ctx context.Context, q string) ([]group, error) {
	form := strings.NewReader(url.Values{"q": {q}}.Encode())
	src, err := x.post(ctx, "/query", url.Values{"db": {x.Database}, "epoch": {"ns"}}, "application/x-www-form-urlencoded", form)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Results []struct {
			Error  string `json:"error"`
			Series []struct {
				Tags   map[string]string `json:"tags"`
				Values [][]json.Number   `json:"values"`
			} `json:"series"`
		} `json:"results"`
	}
	if err := json.Unmarshal(src, &answer); err != nil {
		return nil, x.failed(fmt.Errorf("its answer is not as expected: %w", err))
	}
	if len(answer.Results) != 1 {
		return nil, x.failed(fmt.Errorf("it gave %d results, expected one\n  is this an InfluxDB 1.x?", len(answer.Results)))
	}
	r := answer.Results[0]
	if r.Error != "" {
		return nil, x.failed(errors.New(printable(r.Error)))
	}
	var groups []group
	for _, s := range r.Series {
		if len(s.Values) != 1 || len(s.Values[0]) != 2 {
			return nil, x.failed(errors.New("its answer is not one row of time and value"))
		}
		n, err := s.Values[0][1].Int64()
		if err != nil {
			return nil, x.failed(fmt.Errorf("its answer is not a whole number: %w", err))
		}
		groups = append(groups, group{s.Tags["flow"], n})
	}
	return groups, nil
}

// post sends a request, and gives the body of an answer that is not an error.
func (x Influx) post(ctx context.Context, path string, query url.Values, kind string, body io.Reader) ([]byte, error) {
	to := strings.TrimSuffix(x.URL, "/") + path + "?" + query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, body)
	if err != nil {
		return nil, x.failed(err)
	}
	request.Header.Set("Content-Type", kind)
	client := x.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(request)
	if err != nil {
		var wrapped *url.Error // its text has the whole request
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, x.failed(err)
	}
	defer answer.Body.Close()
	src, err := io.ReadAll(io.LimitReader(answer.Body, largestAnswer+1))
	switch {
	case err != nil:
		return nil, x.failed(err)
	case len(src) > largestAnswer:
		return nil, x.failed(fmt.Errorf("its answer is longer than %d MiB", largestAnswer>>20))
	case answer.StatusCode/100 != 2:
		var told struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(src, &told) != nil || told.Error == "" {
			told.Error = string(src[:min(len(src), longestText)])
		}
		return nil, x.failed(fmt.Errorf("%s: %s", answer.Status, printable(told.Error)))
	}
	return src, nil
}

// failed is an error that says whom it is of.
func (x Influx) failed(err error) error {
	return fmt.Errorf("InfluxDB at %s, database %s: %w", x.URL, x.Database, err)
}
