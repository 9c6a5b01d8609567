package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"scoremesh/decision"
)

// labels serves POST /v1/labels: one label, {"labels":[...]}, or NDJSON.
func (x *exchange) labels() error {
	return x.bulk(
		func(ctx context.Context) (int, error) {
			labels, err := x.readLabels()
			if err != nil {
				return 0, err
			}
			return x.commitLabels(ctx, labels)
		},
		func(ctx context.Context) (progress, error) {
			var labels []decision.Label
			return x.stream(ctx, func(line []byte) error {
				x.scan.reset(line)
				if err := x.label.read(&x.scan); err != nil {
					return err
				}
				if err := x.scan.end(); err != nil {
					return err
				}
				l, err := x.label.judge(x.e, x.e.judgement())
				if err == nil {
					labels = append(labels, l)
				}
				return err
			}, func() (int, error) {
				list := labels
				labels = nil
				return x.commitLabels(ctx, list)
			})
		})
}

// commitLabels returns how many were committed: all or none.
func (x *exchange) commitLabels(ctx context.Context, labels []decision.Label) (int, error) {
	if err := commit(ctx, len(labels), func() error { return x.e.backend.Label(ctx, labels) }); err != nil {
		return 0, err
	}
	x.e.metrics.labels.Add(float64(len(labels)))
	return len(labels), nil
}

// commit calls do unless there is nothing to do or no time left. What was committed is committed, even if the deadline passed meanwhile.
func commit(ctx context.Context, n int, do func() error) error {
	if n == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return do()
}

// readLabels reads one label or a list from x.in.
func (x *exchange) readLabels() ([]decision.Label, error) {
	const listKey = "labels"
	s, j := &x.scan, x.e.judgement()
	s.reset(x.in)
	x.label.start()
	var list []decision.Label
	isList := false
	if err := s.open('{'); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		switch {
		case string(key) == listKey && first:
			isList = true
			if list, err = x.readLabelList(j); err != nil {
				return nil, within(listKey, err)
			}
		case string(key) == listKey && isList:
			return nil, repeatedKey(listKey)
		case string(key) == listKey || isList:
			return nil, invalid(listKey, "a body is either one label or a list of labels")
		default:
			if err := x.label.readMember(s, key); err != nil {
				return nil, err
			}
		}
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	if isList {
		return list, nil
	}
	l, err := x.label.judge(x.e, j)
	return []decision.Label{l}, err
}

func (x *exchange) readLabelList(j judgement) ([]decision.Label, error) {
	s, limit := &x.scan, x.e.config.MaxBatchItems
	if err := s.open('['); err != nil {
		return nil, err
	}
	var list []decision.Label
	for first := true; ; first = false {
		more, err := s.element(first)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if len(list) == limit {
			return nil, &decision.Error{Code: CodeTooLarge, Detail: fmt.Sprintf("at most %d are allowed; NDJSON takes more", limit)}
		}
		index := func(err error) error { return within(fmt.Sprintf("[%d]", len(list)), err) }
		if err := x.label.read(s); err != nil {
			return nil, index(err)
		}
		l, err := x.label.judge(x.e, j)
		if err != nil {
			return nil, index(err)
		}
		list = append(list, l)
	}
	if len(list) == 0 {
		return nil, invalid("", fmt.Sprintf("want 1 to %d labels", limit))
	}
	return list, nil
}

// writeCommitted answers with how many entries were committed.
func (x *exchange) writeCommitted(n int) {
	x.out = append(x.out[:0], `{"committed":`...)
	x.out = strconv.AppendInt(x.out, int64(n), 10)
	x.out = append(x.out, '}')
	x.write(http.StatusOK, typeJSON)
}
