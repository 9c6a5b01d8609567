package actors

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"scoremesh/feature"
)

// effects are what a step wants done. They are a value of the machine, reused by the next step.
type effects struct {
	answers  []answer
	views    []viewAnswer
	finished []*fold
	drained  []chan struct{}
	loads    []loadOrder
	flush    *flushOrder
	replay   *ReplayRequest
	emit     *emitOrder
	askLast  *askOrder
	restart  bool
	// panics are those that the machine dealt with itself.
	panics []caughtPanic
	// rebuild says why a rebuild began in this step, or is empty.
	rebuild string
}

// caughtPanic is what may be logged of a panic: where it was, and its text if the runtime made it (any other may hold an entity id).
type caughtPanic struct {
	text  string
	stack []byte
}

func panicOf(v any) caughtPanic {
	text := fmt.Sprintf("%T", v)
	if err, ok := v.(runtime.Error); ok {
		text = err.Error()
	}
	return caughtPanic{text: text, stack: debug.Stack()}
}

type answer struct {
	to    *attempt
	reply reply
}

type viewAnswer struct {
	to    *viewing
	reply viewReply
}

// loadOrder is a load and what must be known to judge its result.
type loadOrder struct {
	generation uint64
	// base is w0 when the load was ordered: the watermark of the result must dominate it.
	base feature.Vector
	hots []*hot
	ids  []string
	// urgent: requests wait for it.
	urgent bool
}

type flushOrder struct {
	generation uint64
	request    FlushRequest
}

type askOrder struct{ generation uint64 }

type emitOrder struct {
	generation uint64
	request    EmitRequest
}

// reset empties the effects and keeps their memory. It holds on to nothing that was in them.
func (e *effects) reset() {
	clear(e.answers)
	clear(e.views)
	clear(e.finished)
	clear(e.drained)
	clear(e.loads)
	clear(e.panics)
	*e = effects{answers: e.answers[:0], views: e.views[:0], finished: e.finished[:0], drained: e.drained[:0], loads: e.loads[:0], panics: e.panics[:0]}
}
