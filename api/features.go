package api

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"scoremesh/decision"
	"scoremesh/feature"
)

// features serves POST /v1/features: one row, or NDJSON.
func (x *exchange) features() error {
	return x.bulk(
		func(ctx context.Context) (int, error) {
			row, err := x.readRow(x.in)
			if err != nil {
				return 0, err
			}
			return x.publish(ctx, []feature.Row{row})
		},
		func(ctx context.Context) (progress, error) {
			var rows []feature.Row
			return x.stream(ctx, func(line []byte) error {
				row, err := x.readRow(line)
				if err == nil {
					rows = append(rows, row)
				}
				return err
			}, func() (int, error) {
				list := rows
				rows = nil
				return x.publish(ctx, list)
			})
		})
}

func (x *exchange) readRow(text []byte) (feature.Row, error) {
	x.scan.reset(text)
	if err := x.row.read(&x.scan); err != nil {
		return feature.Row{}, err
	}
	if err := x.scan.end(); err != nil {
		return feature.Row{}, err
	}
	return x.row.judge(x.e, x.e.judgement())
}

// publish returns how many rows were committed: all or none.
func (x *exchange) publish(ctx context.Context, rows []feature.Row) (int, error) {
	if err := commit(ctx, len(rows), func() error { return x.e.backend.Publish(ctx, rows) }); err != nil {
		return 0, err
	}
	x.e.metrics.rows.Add(float64(len(rows)))
	return len(rows), nil
}

// entity serves GET /v1/entities/{kind}/{id}. The id is percent-encoded, slashes included.
func (x *exchange) entity() error {
	if err := x.noQuery(); err != nil {
		return err
	}
	kindText, idText, ok := strings.Cut(strings.TrimPrefix(x.r.URL.EscapedPath(), entitiesPrefix), "/")
	if !ok || strings.Contains(idText, "/") {
		return errNoEndpoint
	}
	kind, err := parseKind(kindText)
	if err != nil {
		return within("kind", err)
	}
	id, err := url.PathUnescape(idText)
	if err != nil {
		return invalid("id", "is not percent-encoded as it should be")
	}
	if err := checkEntityID("id", kind, id); err != nil {
		return err
	}
	ctx, cancel, err := x.withDeadline(x.e.config.BulkDeadline)
	if err != nil {
		return err
	}
	defer cancel()
	view, err := x.admitAndView(ctx, kind, id)
	if err != nil {
		return err
	}
	x.out = appendEntity(x.out[:0], kind, id, view)
	x.write(http.StatusOK, typeJSON)
	return nil
}

func (x *exchange) admitAndView(ctx context.Context, kind feature.Kind, id string) (*EntityView, error) {
	if !x.e.bulk.admit(1) {
		x.e.metrics.shed[endpointEntities].Inc()
		return nil, x.e.overloaded
	}
	defer x.e.bulk.release(1)
	view, err := x.e.backend.Entity(ctx, kind, id)
	if err != nil {
		return nil, withoutIDs(err, &decision.Transaction{ID: id})
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return view, nil
}
