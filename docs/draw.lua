-- Draws the Lua modules on their floors, as SVG: lua5.4 docs/draw.lua >docs/modules.svg, from the top of the tree.
--
-- A floor is a band, the ground floor at the bottom; within it a module stands above those of its own floor that it
-- requires. An arrow points from a module to one that it requires, dashed where that is loaded late. Arrows to
-- `lib.late`, which nearly every module has, are left out.
package.path = "./?.lua;" .. package.path
local house = require "docs.house"

local BOX_WIDTH, BOX_HEIGHT, GAP, ROW_GAP, MARGIN, TITLE = 104, 22, 14, 34, 20, 90
local COLUMNS = 12
local OMITTED = "ctrexec.lib.late"
local COLOURS = { "#e8f1e4", "#e3eef6", "#f6efe0", "#f3e6ea", "#ece7f5", "#e6f3f2", "#f4f1df", "#eeeeee" }

local draw = {}

-- How many modules of its own floor stand below a module at most.
local function depths_of(modules, arrows)
  local below, depths = {}, {}
  for _, arrow in ipairs(arrows) do
    if house.level_of(arrow.from) == house.level_of(arrow.to) then
      below[arrow.from] = below[arrow.from] or {}
      table.insert(below[arrow.from], arrow.to)
    end
  end
  local function depth(name)
    if not depths[name] then
      depths[name] = 0
      for _, other in ipairs(below[name] or {}) do depths[name] = math.max(depths[name], depth(other) + 1) end
    end
    return depths[name]
  end
  for name in pairs(modules) do depth(name) end
  return depths
end

-- The rows of the drawing from the ground up, each `level` and an array of names.
local function rows_of(modules, depths)
  local names = {}
  for name in pairs(modules) do names[#names + 1] = name end
  table.sort(names, function(one, other)
    local first, second = house.level_of(one), house.level_of(other)
    if first ~= second then return first < second end
    if depths[one] ~= depths[other] then return depths[one] < depths[other] end
    return one < other
  end)
  local rows, row = {}, nil
  for _, name in ipairs(names) do
    local level, depth = house.level_of(name), depths[name]
    if not row or row.level ~= level or row.depth ~= depth or #row == COLUMNS then
      row = { level = level, depth = depth }
      rows[#rows + 1] = row
    end
    row[#row + 1] = name
  end
  return rows
end

local function title_of(level)
  return table.concat(house.floors[level], ", ")
end

local function label_of(name)
  return name:match "^ctrexec%.[^.]*%.(.*)$" or name:match "^ctrexec%.?(.*)$":gsub("^$", "ctrexec")
end

-- Where each module's box is, by name, and the height of the whole.
local function places_of(rows)
  local places, y = {}, MARGIN
  for index = #rows, 1, -1 do
    local row = rows[index]
    row.top = y
    local width = #row * BOX_WIDTH + (#row - 1) * GAP
    local x = TITLE + (COLUMNS * (BOX_WIDTH + GAP) - width) // 2
    for _, name in ipairs(row) do
      places[name] = { x = x, y = y }
      x = x + BOX_WIDTH + GAP
    end
    y = y + BOX_HEIGHT + ROW_GAP
  end
  return places, y
end

local function bands(rows, width, out)
  local first = 1
  for index = 1, #rows do
    local row = rows[index]
    if index == #rows or rows[index + 1].level ~= row.level then
      local top, bottom = row.top - ROW_GAP // 2, rows[first].top + BOX_HEIGHT + ROW_GAP // 2
      out[#out + 1] = ('<rect x="0" y="%d" width="%d" height="%d" fill="%s"/>')
        :format(top, width, bottom - top, COLOURS[row.level])
      out[#out + 1] = ('<text x="10" y="%d" font-weight="bold">%s</text>'):format(top + 18, title_of(row.level))
      first = index + 1
    end
  end
end

--- Draws.
-- @tparam table modules of `house.read`
-- @treturn string SVG
function draw.svg(modules)
  local arrows = house.arrows(modules)
  local rows = rows_of(modules, depths_of(modules, arrows))
  local places, height = places_of(rows)
  local width = TITLE + COLUMNS * (BOX_WIDTH + GAP) + MARGIN
  local out = {
    ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">')
      :format(width, height),
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="5" markerHeight="5" orient="auto">'
      .. '<path d="M0,0 L8,4 L0,8 z" fill="#667"/></marker></defs>',
  }
  bands(rows, width, out)
  for _, arrow in ipairs(arrows) do
    if arrow.to == OMITTED then goto next end
    local from, to = places[arrow.from], places[arrow.to]
    out[#out + 1] = ('<path d="M%d,%d C%d,%d %d,%d %d,%d" fill="none" stroke="#667" stroke-opacity="0.45"%s '
      .. 'marker-end="url(#head)"><title>%s requires %s</title></path>'):format(
      from.x + BOX_WIDTH // 2, from.y + BOX_HEIGHT, from.x + BOX_WIDTH // 2, from.y + BOX_HEIGHT + ROW_GAP,
      to.x + BOX_WIDTH // 2, to.y - ROW_GAP, to.x + BOX_WIDTH // 2, to.y,
      arrow.late and ' stroke-dasharray="4 3"' or "", arrow.from, arrow.to)
    ::next::
  end
  for _, row in ipairs(rows) do
    for _, name in ipairs(row) do
      local place = places[name]
      out[#out + 1] = ('<rect x="%d" y="%d" width="%d" height="%d" rx="3" fill="white" stroke="#445"/>')
        :format(place.x, place.y, BOX_WIDTH, BOX_HEIGHT)
      out[#out + 1] = ('<text x="%d" y="%d" text-anchor="middle">%s</text>')
        :format(place.x + BOX_WIDTH // 2, place.y + 15, label_of(name))
    end
  end
  out[#out + 1] = "</svg>\n"
  return table.concat(out, "\n")
end

if arg and arg[0] and arg[0]:find "draw%.lua$" then io.write(draw.svg(house.read(house.sources()))) end

return draw
