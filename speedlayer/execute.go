package speedlayer

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// execute runs a pipeline; then every command has its value or its error. When Redis itself refuses a new connection (a wrong password,
// loading, too many clients) the client library returns that as the pipeline's error only, and leaves the commands with neither: a
// watermark would look missing, and an entity expired.
func execute(ctx context.Context, pipe redis.Pipeliner) {
	cmds, err := pipe.Exec(ctx)
	if err == nil {
		return
	}
	for _, c := range cmds {
		if c.Err() != nil {
			return // the pipeline was run: the error is that of the first command that failed
		}
	}
	for _, c := range cmds {
		c.SetErr(err)
	}
}
