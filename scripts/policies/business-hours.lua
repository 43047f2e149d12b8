-- Commands at a terminal are allowed from Monday to Friday, 8 to 18 h, the host's time; commands without one always.
local FIRST_HOUR, LAST_HOUR = 8, 18
local SUNDAY, SATURDAY = 1, 7

return {
  name = "business-hours",
  check = function(request)
    if not request.interactive then return end
    local now = os.date "*t"
    if now.wday == SUNDAY or now.wday == SATURDAY then return deny "no interactive use at weekends" end
    if now.hour < FIRST_HOUR or now.hour >= LAST_HOUR then
      return deny(("interactive use is from %d to %d h"):format(FIRST_HOUR, LAST_HOUR))
    end
  end,
}
