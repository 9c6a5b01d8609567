package actors

import (
	"scoremesh/decision"
	"scoremesh/feature"
)

// Handle is a registered attempt in the hands of its requester, who owes it Decided and then Committed (or Pended and Committed later),
// or Abandon. No call blocks. An attempt without any of them is forgotten a grace after its deadline.
type Handle struct {
	box     *mailbox
	pending *pending
}

// Decided tells the outcome, before the record is appended: from now on the transaction counts with it. The decision must not
// change any more.
func (h Handle) Decided(d *decision.Decision) {
	h.box.send(&notice{kind: noticeDecided, pending: h.pending, decision: d})
}

// Committed tells where the record stands in the log. Retries that waited get the decision; the attempt leaves the overlay when the
// record comes back through the log.
func (h Handle) Committed(p feature.Position) {
	h.box.send(&notice{kind: noticeCommitted, pending: h.pending, position: p})
}

// Pended tells that the log did not confirm in time and that the record waits: retries get the decision with durability "pending".
// Committed or Abandon must follow.
func (h Handle) Pended() {
	h.box.send(&notice{kind: noticePended, pending: h.pending})
}

// Abandon tells that there will be no record. Retries that waited get err.
func (h Handle) Abandon(err error) {
	if err == nil {
		err = errUndecided
	}
	h.box.send(&notice{kind: noticeAbandoned, pending: h.pending, err: err})
}
