package actors

// drain takes no more attempts.
func (s *shard) drain(m *draining) {
	s.closing = true
	s.draining = append(s.draining, m.done)
	s.closeLobby()
}

// checkDrained ends a drain when no attempt is registered or waiting, and everything applied by then is flushed.
func (s *shard) checkDrained() {
	if s.status != statusStarting {
		if s.pendings > 0 || s.waiting > 0 {
			return
		}
		if s.drainTo == nil {
			v := s.applied.Clone()
			s.drainTo = &v
		}
		if s.inFlight != nil || len(s.dirty) > 0 || !s.w0.Dominates(*s.drainTo) {
			return
		}
	}
	s.out.drained = append(s.out.drained, s.draining...)
	s.draining = nil
}

// abandonAll answers everything that waits: the shard ends.
func (s *shard) abandonAll() {
	s.closing = true
	s.closeLobby()
	for _, h := range s.hot {
		for _, a := range h.waiting {
			s.reply(a, reply{err: errClosing})
		}
		h.waiting = nil
		for _, v := range h.views {
			s.out.views = append(s.out.views, viewAnswer{v, viewReply{err: errClosing}})
		}
		h.views = nil
		for _, p := range h.pending {
			for _, w := range p.waiters {
				s.reply(w, reply{err: errClosing})
			}
			p.waiters = nil
		}
	}
	s.waiting = 0
	s.clearQueue()
}
