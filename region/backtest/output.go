package backtest

import (
	"bufio"
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"scoremesh/decision"
)

// output writes rows aside, and puts the file into its place when it is whole.
type output struct {
	path   string
	file   *os.File
	buffer *bufio.Writer
	zip    *gzip.Writer // nil: plain
	rows   *csv.Writer
	fields []string
}

func createOutput(path string, names []string) (*output, error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".part-*")
	if err != nil {
		return nil, fmt.Errorf("create output: %w", err)
	}
	o := &output{path: path, file: file, buffer: bufio.NewWriterSize(file, 1<<20)}
	var w io.Writer = o.buffer
	if strings.HasSuffix(path, ".gz") {
		o.zip = gzip.NewWriter(o.buffer)
		w = o.zip
	}
	o.rows = csv.NewWriter(w)
	header := append([]string{"transaction_id"}, names...)
	if err := o.rows.Write(append(header, "score", "outcome")); err != nil {
		o.abort()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return o, nil
}

// row writes one transaction. Missing values (NaN) are empty.
func (o *output) row(id string, vector []float64, d *decision.Decision) error {
	o.fields = append(o.fields[:0], id)
	for _, v := range vector {
		o.fields = append(o.fields, formatNumber(v, 64))
	}
	o.fields = append(o.fields, formatNumber(float64(d.Score), 32), d.Outcome.String())
	if err := o.rows.Write(o.fields); err != nil {
		return fmt.Errorf("write %s: %w", o.path, err)
	}
	return nil
}

func formatNumber(v float64, bits int) string {
	if v != v {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, bits)
}

// commit makes the file durable and gives it its name.
func (o *output) commit() error {
	o.rows.Flush()
	err := o.rows.Error()
	if err == nil && o.zip != nil {
		err = o.zip.Close()
	}
	if err == nil {
		err = o.buffer.Flush()
	}
	if err == nil {
		err = o.file.Sync()
	}
	if err == nil {
		err = o.file.Close()
	}
	if err == nil {
		err = os.Chmod(o.file.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(o.file.Name(), o.path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", o.path, err)
	}
	o.file = nil
	return nil
}

// abort removes what commit did not finish.
func (o *output) abort() {
	if o.file != nil {
		o.file.Close()
		os.Remove(o.file.Name())
	}
}
