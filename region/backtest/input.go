package backtest

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"scoremesh/decision"
)

// maxLine bounds a line of an input file, in bytes.
const maxLine = 1 << 20

// RowError says which row of which file is wrong.
type RowError struct {
	File string
	// Line is 1-based.
	Line   int
	Field  string
	Detail string
}

// Error returns "file:line: field: detail".
func (e *RowError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Detail)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Field, e.Detail)
}

// source reads the rows of a CSV or NDJSON file; the name tells which, and whether it is compressed.
type source struct {
	path string
	file *os.File
	// csv or lines is set.
	csv    *csv.Reader
	header []string
	lines  *bufio.Scanner
	line   int
}

func openSource(path string, required ...string) (*source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open input: %w", err)
	}
	s := &source{path: path, file: file}
	var r io.Reader = bufio.NewReaderSize(file, 1<<20)
	name := path
	if plain, ok := strings.CutSuffix(name, ".gz"); ok {
		name = plain
		if r, err = gzip.NewReader(r); err != nil {
			file.Close()
			return nil, fmt.Errorf("open %s: %w", path, err)
		}
	}
	switch {
	case strings.HasSuffix(name, ".csv"):
		s.csv = csv.NewReader(r)
		s.csv.ReuseRecord = true
		err = s.readHeader(required)
	case strings.HasSuffix(name, ".ndjson"), strings.HasSuffix(name, ".jsonl"):
		s.lines = bufio.NewScanner(r)
		s.lines.Buffer(make([]byte, 64<<10), maxLine)
	default:
		err = fmt.Errorf("open %s: want a name that ends in .csv, .ndjson or .jsonl, with or without .gz", path)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return s, nil
}

func (s *source) readHeader(required []string) error {
	row, err := s.csv.Read()
	s.line = 1
	if errors.Is(err, io.EOF) {
		return s.errorf("", "an empty file; want the header %s", strings.Join(required, ","))
	}
	if err != nil {
		return s.errorf("", "%v", err)
	}
	s.header = slices.Clone(row)
	for i, name := range s.header {
		if slices.Index(s.header, name) != i {
			return s.errorf(name, "the column stands twice in the header")
		}
	}
	for _, name := range required {
		if !slices.Contains(s.header, name) {
			return s.errorf(name, "the header lacks this column; want %s", strings.Join(required, ","))
		}
	}
	return nil
}

// next returns the fields of the next CSV row, or the bytes of the next JSON line.
func (s *source) next() (row []string, line []byte, err error) {
	if s.csv != nil {
		row, err = s.csv.Read()
		if errors.Is(err, io.EOF) {
			return nil, nil, io.EOF
		}
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			s.line = parse.Line
			return nil, nil, s.errorf("", "%v", parse.Err)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", s.path, err)
		}
		s.line, _ = s.csv.FieldPos(0)
		return row, nil, nil
	}
	for s.lines.Scan() {
		s.line++
		if b := s.lines.Bytes(); len(b) > 0 {
			return nil, b, nil
		}
	}
	if err := s.lines.Err(); err != nil {
		s.line++
		return nil, nil, s.errorf("", "%v", err)
	}
	return nil, nil, io.EOF
}

// decode reads one JSON object strictly.
func (s *source) decode(line []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return s.errorf("", "%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return s.errorf("", "data behind the JSON object")
	}
	return nil
}

func (s *source) errorf(field, format string, args ...any) error {
	return &RowError{File: s.path, Line: s.line, Field: field, Detail: fmt.Sprintf(format, args...)}
}

// wrap places an error of the decision package.
func (s *source) wrap(err error) error {
	var refusal *decision.Error
	if errors.As(err, &refusal) {
		return s.errorf(refusal.Field, "%s", refusal.Detail)
	}
	return s.errorf("", "%v", err)
}

func (s *source) time(field, text string) (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, s.errorf(field, "%q: want RFC 3339, such as 2026-11-23T10:15:02.120Z", text)
	}
	return t.UnixMilli(), nil
}

func (s *source) integer(field, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, s.errorf(field, "%q: want an integer (minor units)", text)
	}
	return n, nil
}

func (s *source) degrees(field, text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, s.errorf(field, "%q: want degrees", text)
	}
	return v, nil
}

func (s *source) close() { s.file.Close() }

// transactionReader reads transactions.
type transactionReader struct {
	*source
	strings map[string]string
}

// jsonTransaction is a line of NDJSON: the body of a score request.
type jsonTransaction struct {
	TransactionID string            `json:"transaction_id"`
	Timestamp     string            `json:"timestamp"`
	CardID        string            `json:"card_id"`
	DeviceID      string            `json:"device_id"`
	MerchantID    string            `json:"merchant_id"`
	Amount        int64             `json:"amount"`
	Currency      string            `json:"currency"`
	Country       string            `json:"country"`
	Lat           *float64          `json:"lat"`
	Lon           *float64          `json:"lon"`
	MCC           string            `json:"mcc"`
	Attributes    map[string]string `json:"attributes"`
}

func openTransactions(path string) (*transactionReader, error) {
	s, err := openSource(path, "transaction_id", "timestamp", "card_id", "device_id", "merchant_id", "amount", "currency")
	if err != nil {
		return nil, err
	}
	return &transactionReader{source: s, strings: map[string]string{}}, nil
}

// next returns the next transaction, in bounds but for its time; io.EOF behind the last.
func (r *transactionReader) next() (*decision.Transaction, error) {
	row, line, err := r.source.next()
	if err != nil {
		return nil, err
	}
	t := &decision.Transaction{}
	if row != nil {
		err = r.fromRow(t, row)
	} else {
		err = r.fromJSON(t, line)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(t.Attributes, func(a, b decision.Attribute) int { return strings.Compare(a.Name, b.Name) })
	if err := t.Validate(t.At, 0, 0); err != nil {
		return nil, r.wrap(err)
	}
	return t, nil
}

func (r *transactionReader) fromRow(t *decision.Transaction, row []string) error {
	var err error
	degrees := 0
	for i, name := range r.header {
		v := row[i]
		switch name {
		case "transaction_id":
			t.ID = strings.Clone(v)
		case "timestamp":
			t.At, err = r.time(name, v)
		case "card_id":
			t.Card = r.shared(v)
		case "device_id":
			t.Device = r.shared(v)
		case "merchant_id":
			t.Merchant = r.shared(v)
		case "amount":
			t.Amount, err = r.integer(name, v)
		case "currency":
			t.Currency = r.shared(v)
		case "country":
			t.Country = r.shared(v)
		case "mcc":
			t.MCC = r.shared(v)
		case "lat":
			if v != "" {
				degrees++
				t.Lat, err = r.degrees(name, v)
			}
		case "lon":
			if v != "" {
				degrees++
				t.Lon, err = r.degrees(name, v)
			}
		default:
			if v != "" {
				t.Attributes = append(t.Attributes, decision.Attribute{Name: name, Value: strings.Clone(v)})
			}
		}
		if err != nil {
			return err
		}
	}
	if degrees == 1 {
		return r.errorf("lat", "lat and lon come together")
	}
	t.HasPosition = degrees == 2
	return nil
}

func (r *transactionReader) fromJSON(t *decision.Transaction, line []byte) error {
	var j jsonTransaction
	if err := r.decode(line, &j); err != nil {
		return err
	}
	at, err := r.time("timestamp", j.Timestamp)
	if err != nil {
		return err
	}
	if (j.Lat == nil) != (j.Lon == nil) {
		return r.errorf("lat", "lat and lon come together")
	}
	*t = decision.Transaction{ID: j.TransactionID, Card: r.shared(j.CardID), Device: r.shared(j.DeviceID), Merchant: r.shared(j.MerchantID),
		At: at, Amount: j.Amount, Currency: r.shared(j.Currency), Country: r.shared(j.Country), MCC: r.shared(j.MCC)}
	if j.Lat != nil {
		t.HasPosition, t.Lat, t.Lon = true, *j.Lat, *j.Lon
	}
	for name, value := range j.Attributes {
		t.Attributes = append(t.Attributes, decision.Attribute{Name: name, Value: value})
	}
	return nil
}

// shared returns one copy of a string that recurs, so that a row's memory is not kept.
func (r *transactionReader) shared(v string) string {
	s, ok := r.strings[v]
	if !ok {
		s = strings.Clone(v)
		r.strings[s] = s
	}
	return s
}

// labelReader reads labels, and shows the next one before it is taken.
type labelReader struct {
	*source
	ahead  *decision.Label
	err    error
	newest int64
}

type jsonLabel struct {
	TransactionID string `json:"transaction_id"`
	KnownAt       string `json:"known_at"`
	Fraud         *bool  `json:"fraud"`
}

func openLabels(path string) (*labelReader, error) {
	s, err := openSource(path, "transaction_id", "known_at", "fraud")
	if err != nil {
		return nil, err
	}
	return &labelReader{source: s, newest: math.MinInt64}, nil
}

// peek returns the next label; its card is not known yet.
func (r *labelReader) peek() (*decision.Label, error) {
	if r.ahead == nil && r.err == nil {
		r.ahead, r.err = r.read()
	}
	return r.ahead, r.err
}

func (r *labelReader) take() { r.ahead = nil }

func (r *labelReader) read() (*decision.Label, error) {
	row, line, err := r.next()
	if err != nil {
		return nil, err
	}
	var j jsonLabel
	if row == nil {
		if err := r.decode(line, &j); err != nil {
			return nil, err
		}
	}
	for i, name := range r.header {
		switch name {
		case "transaction_id":
			j.TransactionID = strings.Clone(row[i])
		case "known_at":
			j.KnownAt = row[i]
		case "fraud":
			fraud, err := strconv.ParseBool(row[i])
			if err != nil {
				return nil, r.errorf(name, "%q: want true, false, 1 or 0", row[i])
			}
			j.Fraud = &fraud
		}
	}
	at, err := r.time("known_at", j.KnownAt)
	if err != nil {
		return nil, err
	}
	if j.TransactionID == "" || j.Fraud == nil {
		return nil, r.errorf("", "transaction_id, known_at and fraud are required")
	}
	if at < r.newest {
		return nil, r.errorf("known_at", "lies before the row above: labels come in time order")
	}
	r.newest = at
	return &decision.Label{TransactionID: j.TransactionID, Fraud: *j.Fraud, KnownAt: at}, nil
}
